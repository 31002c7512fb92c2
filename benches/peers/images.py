#!/usr/bin/env python3
"""Glow of normflows on the images of `examples/realnvp`: same levels, steps, channels, preprocessing, optimizer and schedule.

    python benches/peers/images.py                # the digits shipped with the examples, 30 epochs
    python benches/peers/images.py FOLDER         # a folder of IDX files, 1 epoch

Needs torch and normflows. Prints bits per dim of the test images, their standard error, and the seconds that the training
took. THREADS sets the number of threads (2), EPOCHS the number of epochs.
"""
import gzip, json, math, os, pathlib, struct, sys, time

import normflows as nf
import numpy as np
import torch

torch.set_num_threads(int(os.environ.get("THREADS", "2")))
LEVELS, STEPS, CHANNELS, BATCH, LR, WARM_UP, MAX_NORM, ALPHA = 2, 8, 32, 64, 2e-3, 100, 50.0, 0.05


def digits():
    """Training and test images, and the number of their levels of grey."""
    path = pathlib.Path(__file__).parents[2] / "examples/data/digits.safetensors"
    bytes = path.read_bytes()
    start = 8 + struct.unpack("<Q", bytes[:8])[0]
    entry = json.loads(bytes[8:start])["x"]
    begin, end = entry["data_offsets"]
    x = np.frombuffer(bytes[start + begin : start + end], np.uint8).reshape(entry["shape"])
    x = x[np.random.default_rng(0).permutation(len(x))]
    cut = len(x) * 4 // 5
    return x[:cut], x[cut:], 17


def idx(folder):
    def read(name):
        with gzip.open(pathlib.Path(folder) / f"{name}-images-idx3-ubyte.gz") as file:
            _, *shape = struct.unpack(">4I", file.read(16))
            return np.frombuffer(file.read(), np.uint8).reshape(shape)

    return read("train"), read("t10k"), 256


def glow(height, width):
    flows, merges, bases, channels = [], [], [], 1
    for level in range(LEVELS):
        channels, height, width = 4 * channels, height // 2, width // 2
        steps = [nf.flows.GlowBlock(channels, CHANNELS, scale_map="exp") for _ in range(STEPS)]
        # Flows are listed from latents to images, the coarsest level first.
        flows.insert(0, steps + [nf.flows.Squeeze()])
        if level + 1 < LEVELS:
            merges.insert(0, nf.flows.Merge())
            channels //= 2
        # Fixed, as in the example: a mean and a scale for each pixel would be another model.
        bases.insert(0, nf.distributions.DiagGaussian((channels, height, width), trainable=False))
    return nf.MultiscaleFlow(bases, flows, merges, class_cond=False)


def bits(flow, pixels, levels):
    """Bits per dim of each image, with the grey levels filled by uniform noise."""
    x = torch.from_numpy(pixels).float()[:, None]
    p = ALPHA + (1 - 2 * ALPHA) * (x + torch.rand_like(x)) / levels
    log_det = (math.log(1 - 2 * ALPHA) - p.log() - (1 - p).log()).flatten(1).sum(1)
    log_prob = flow.log_prob(p.log() - (1 - p).log(), None) + log_det
    return math.log2(levels) - log_prob / x[0].numel() / math.log(2)


def main():
    train, test, levels = idx(sys.argv[1]) if len(sys.argv) > 1 else digits()
    epochs = int(os.environ.get("EPOCHS", "1" if len(sys.argv) > 1 else "30"))
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    flow = glow(*train.shape[1:])
    adam = torch.optim.Adam(flow.parameters(), lr=LR)
    all = epochs * -(-len(train) // BATCH)
    warm_up = min(WARM_UP, all // 10)
    cosine = lambda k: 0.5 + 0.5 * math.cos(math.pi * (k - warm_up) / (all - warm_up))
    schedule = torch.optim.lr_scheduler.LambdaLR(adam, lambda k: (k + 1) / warm_up if k < warm_up else cosine(k))
    with torch.no_grad():
        # Starts the activation normalization.
        bits(flow, train[:256], levels)
    start, last = time.perf_counter(), []
    for epoch in range(epochs):
        last = []
        for indices in np.array_split(rng.permutation(len(train)), -(-len(train) // BATCH)):
            loss = bits(flow, train[indices], levels).mean()
            adam.zero_grad()
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(flow.parameters(), MAX_NORM)
            if norm.isfinite():
                adam.step()
            schedule.step()
            last.append(loss.item())
    seconds = time.perf_counter() - start
    with torch.no_grad():
        values = torch.cat([bits(flow, test[i : i + BATCH], levels) for i in range(0, len(test), BATCH)]).double()
    count = sum(p.numel() for p in flow.parameters() if p.requires_grad)
    name = pathlib.Path(sys.argv[1]).name if len(sys.argv) > 1 else "digits"
    print(
        f"normflows glow {name:14} bits per dim {values.mean():.3f} ({values.std() / math.sqrt(len(values)):.3f})"
        f"  training {np.mean(last):.3f}  {seconds:.1f} s  {count} parameters",
        flush=True,
    )


if __name__ == "__main__":
    main()
