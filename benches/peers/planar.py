#!/usr/bin/env python3
"""Flows of zuko and normflows on the point sets of `examples/realnvp`, same widths, layers, optimizer and steps.

    python benches/peers/planar.py zuko real-nvp neural-spline maf
    python benches/peers/planar.py normflows real-nvp neural-spline

Needs torch and the library. Prints the mean negative log-likelihood of 10,000 new points in nats, its standard error, and
the seconds that the training took. THREADS sets the number of threads (2), STEPS the number of steps (4000), SETS the sets.
"""
import math, os, sys, time

import numpy as np
import torch

torch.set_num_threads(int(os.environ.get("THREADS", "2")))
STEPS, BATCH, TEST = int(os.environ.get("STEPS", "4000")), 512, 10_000
HIDDEN, COUPLINGS, LAYERS, BINS, BOUND = 64, 12, 5, 8, 5.0


def moons(n, rng):
    turn, second = math.pi * rng.random(n), rng.random(n) >= 0.5
    x = np.where(second, 1 - np.cos(turn), np.cos(turn)) + 0.1 * rng.standard_normal(n)
    y = np.where(second, 0.5 - np.sin(turn), np.sin(turn)) + 0.1 * rng.standard_normal(n)
    return np.stack([2 * x - 1, 2 * y - 0.2], 1)


def eight_gaussians(n, rng):
    angle = 2 * math.pi * rng.integers(8, size=n) / 8
    centres = 4 * np.stack([np.cos(angle), np.sin(angle)], 1)
    return (centres + 0.5 * rng.standard_normal((n, 2))) / math.sqrt(2)


def checkerboard(n, rng):
    x, row = 4 * rng.random(n) - 2, 2 * rng.integers(2, size=n)
    return 2 * np.stack([x, rng.random(n) - row + np.floor(x) % 2], 1)


def rings(n, rng):
    radius, angle = 3 * (1 + rng.integers(4, size=n)) / 4, 2 * math.pi * rng.random(n)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1) + 0.08 * rng.standard_normal((n, 2))


def swiss_roll(n, rng):
    t = 1.5 * math.pi * (1 + 2 * rng.random(n))
    return (np.stack([t * np.cos(t), t * np.sin(t)], 1) + rng.standard_normal((n, 2))) / 5


SETS = [moons, eight_gaussians, checkerboard, rings, swiss_roll]
SETS = [f for f in SETS if f.__name__ in os.environ.get("SETS", f.__name__)]


def zuko_flow(kind):
    import zuko

    hidden = (HIDDEN, HIDDEN)
    if kind == "real-nvp":
        # Two passes make an autoregressive flow a coupling flow.
        flow = zuko.flows.MAF(2, transforms=COUPLINGS, passes=2, hidden_features=hidden)
    elif kind == "maf":
        flow = zuko.flows.MAF(2, transforms=LAYERS, hidden_features=hidden)
    else:
        flow = zuko.flows.NSF(2, transforms=LAYERS, bins=BINS, passes=2, hidden_features=hidden)
    return flow, lambda x: flow().log_prob(x)


def normflows_flow(kind):
    import normflows as nf

    layers = []
    for i in range(COUPLINGS if kind == "real-nvp" else LAYERS):
        if kind == "real-nvp":
            net = nf.nets.MLP([1, HIDDEN, HIDDEN, 2], init_zeros=True)
            layers += [nf.flows.AffineCouplingBlock(net), nf.flows.Permute(2, mode="swap")]
        else:
            spline = nf.flows.CoupledRationalQuadraticSpline(
                2, 2, HIDDEN, num_bins=BINS, tail_bound=BOUND, reverse_mask=i % 2 == 1
            )
            layers.append(spline)
    flow = nf.NormalizingFlow(nf.distributions.DiagGaussian(2, trainable=False), layers)
    return flow, flow.log_prob


def train(library, kind, points):
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    draw = lambda n: torch.from_numpy(points(n, rng)).float()
    flow, log_prob = {"zuko": zuko_flow, "normflows": normflows_flow}[library](kind)
    parameters = [p for p in flow.parameters() if p.requires_grad]
    adam = torch.optim.Adam(parameters, lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, STEPS)
    start = time.perf_counter()
    for _ in range(STEPS):
        loss = -log_prob(draw(BATCH)).mean()
        adam.zero_grad()
        loss.backward()
        # As the example does: a step whose gradient is not finite is left out.
        if torch.nn.utils.clip_grad_norm_(parameters, 10.0).isfinite():
            adam.step()
        schedule.step()
    seconds = time.perf_counter() - start
    with torch.no_grad():
        values = log_prob(draw(TEST)).double()
    error = values.std().item() / math.sqrt(TEST)
    count = sum(p.numel() for p in parameters)
    print(
        f"{library:9} {kind:13} {points.__name__:15} nll {-values.mean().item():.3f} ({error:.3f})"
        f"  {seconds:6.1f} s  {count} parameters",
        flush=True,
    )


if __name__ == "__main__":
    for kind in sys.argv[2:]:
        for points in SETS:
            train(sys.argv[1], kind, points)
