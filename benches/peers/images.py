#!/usr/bin/env python3
"""Flows of normflows on the images of `examples/realnvp`: same sizes, preprocessing, base, optimizer and schedule.

    python benches/peers/images.py                      # Glow on the digits shipped with the examples, 30 epochs
    python benches/peers/images.py FOLDER               # on a folder of IDX files, 1 epoch
    python benches/peers/images.py FOLDER --flow real-nvp --epochs 5
    python benches/peers/images.py --flow nice

Needs torch and normflows. Prints bits per dim of the test images, their standard error, and the seconds that the training
took. THREADS sets the number of threads (2). With --checkpoint FILE every epoch is kept there, and a run that was cut goes
on from the last one.
"""
import argparse, gzip, json, math, os, pathlib, struct, sys, time

import normflows as nf
import numpy as np
import torch

torch.set_num_threads(int(os.environ.get("THREADS", "2")))
BATCH, LR, WARM_UP, MAX_NORM, ALPHA = 64, 2e-3, 100, 50.0, 0.05
# Glow: levels, steps, channels. RealNVP: scales of the digits and of larger images, channels, residual blocks.
LEVELS, STEPS, CHANNELS = 2, 8, 32
SCALES, LARGE_SCALES, REAL_NVP_CHANNELS, LARGE_CHANNELS, BLOCKS = 2, 3, 32, 24, 1
# NICE: couplings, hidden layers, and their width for the digits and for larger images.
COUPLINGS, DEPTH, WIDTH, LARGE_WIDTH = 4, 5, 256, 1000


def digits():
    """Training and test images, and the number of their levels of grey."""
    path = pathlib.Path(__file__).resolve().parents[2] / "examples/data/digits.safetensors"
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


def standard(shape):
    # Fixed, as in the example: a mean and a scale for each pixel would be another model.
    return nf.distributions.DiagGaussian(shape, trainable=False)


def glow(height, width, scale_map="exp"):
    flows, merges, bases, channels = [], [], [], 1
    for level in range(LEVELS):
        channels, height, width = 4 * channels, height // 2, width // 2
        steps = [nf.flows.GlowBlock(channels, CHANNELS, scale_map=scale_map) for _ in range(STEPS)]
        # Flows are listed from latents to images, the coarsest level first.
        flows.insert(0, steps + [nf.flows.Squeeze()])
        if level + 1 < LEVELS:
            merges.insert(0, nf.flows.Merge())
            channels //= 2
        bases.insert(0, standard((channels, height, width)))
    return nf.MultiscaleFlow(bases, flows, merges, class_cond=False)


class Bounded(torch.nn.Module):
    """A residual network that says shifts and, within 2, log-scales; its last layer is zero at first."""

    def __init__(self, inputs, outputs, channels):
        super().__init__()
        # As here the convolutions have 3 x 3 pixels; in normflows the first and the last have one.
        self.net = nf.nets.resnet.ConvResidualNet(inputs, outputs, channels, num_blocks=BLOCKS)
        self.net.initial_layer = torch.nn.Conv2d(inputs, channels, 3, padding=1)
        self.net.final_layer = torch.nn.Conv2d(channels, outputs, 3, padding=1)
        torch.nn.init.zeros_(self.net.final_layer.weight)
        torch.nn.init.zeros_(self.net.final_layer.bias)

    def forward(self, x):
        y = self.net(x)
        # AffineCoupling takes shifts and log-scales in turns.
        shift, raw = y[:, 0::2], y[:, 1::2]
        return torch.stack([shift, 2 * torch.tanh(raw / 2)], 2).flatten(1, 2)


def real_nvp(height, width):
    flows, merges, bases, c = [], [], [], 1
    large = height > 8
    scales, channels = (LARGE_SCALES, LARGE_CHANNELS) if large else (SCALES, REAL_NVP_CHANNELS)
    for scale in range(scales):
        last = scale + 1 == scales
        layers = []
        for i in range(4 if last else 3):
            mask = torch.tensor([[[(y + x + i) % 2 for x in range(width)] for y in range(height)]]).float()
            mask = mask.expand(c, height, width).contiguous()
            layers.append(Board(mask, Bounded(c, 2 * c, channels)))
            # As in the commands of the page: batch normalization for the larger images.
            layers += [Norm(c)] if large else []
        if not last:
            layers.append(nf.flows.Squeeze())
            for i in range(3):
                mode = "channel_inv" if i % 2 else "channel"
                layers.append(nf.flows.AffineCouplingBlock(Bounded(2 * c, 4 * c, channels), split_mode=mode))
                layers += [Norm(4 * c)] if large else []
        # The layers were listed from images to latents.
        flows.insert(0, layers[::-1])
        if not last:
            c, height, width = 2 * c, height // 2, width // 2
            merges.insert(0, nf.flows.Merge())
        bases.insert(0, standard((c, height, width)))
    return nf.MultiscaleFlow(bases, flows, merges, class_cond=False)


class Board(nf.flows.MaskedAffineFlow):
    """MaskedAffineFlow with one network for both, as in the example."""

    def __init__(self, mask, net):
        super().__init__(mask)
        self.net = net

    def inverse(self, z):
        kept = self.b * z
        y = self.net(kept)
        shift, log_scale = y[:, 0::2], (1 - self.b) * y[:, 1::2]
        z = kept + (1 - self.b) * (z - shift) * torch.exp(-log_scale)
        return z, -log_scale.flatten(1).sum(1)


class Norm(nf.flows.Flow):
    """The batch normalization of RealNVP, by running statistics: normflows' own has those of the batch alone."""

    def __init__(self, channels):
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("variance", torch.ones(channels))

    def inverse(self, z):
        mean, variance = self.mean, self.variance
        if self.training:
            mean = 0.9 * mean + 0.1 * z.mean((0, 2, 3))
            variance = 0.9 * variance + 0.1 * z.var((0, 2, 3), unbiased=False)
            self.mean, self.variance = mean.detach(), variance.detach()
        variance = variance + 1e-5
        out = (z - mean[:, None, None]) / variance.sqrt()[:, None, None]
        return out, -0.5 * z[0, 0].numel() * variance.log().sum().expand(len(z))


class Flat(torch.nn.Module):
    """A flow of vectors on images."""

    def __init__(self, flow):
        super().__init__()
        self.flow = flow

    def log_prob(self, x, _):
        return self.flow.log_prob(x.flatten(1))


class EvenFirst(nf.flows.Permute):
    """Puts the elements of even number before those of odd number."""

    def __init__(self, features):
        super().__init__(features)
        order = torch.cat([torch.arange(0, features, 2), torch.arange(1, features, 2)])
        self.inv_perm, self.perm = order, order.argsort()


def nice(height, width):
    features = height * width
    half, hidden = features // 2, [LARGE_WIDTH if height > 8 else WIDTH] * DEPTH
    # From images to latents: the halves take turns, and the scale comes last.
    layers = [EvenFirst(features)]
    for i in range(COUPLINGS):
        net = nf.nets.MLP([half] + hidden + [half], init_zeros=True)
        layers += [nf.flows.AffineCouplingBlock(net, scale=False), nf.flows.Permute(features, mode="swap")]
    layers.append(nf.flows.AffineConstFlow((features,), shift=False))
    return Flat(nf.NormalizingFlow(standard((features,)), layers[::-1]))


FLOWS = {
    "glow": glow,
    # Scales between 0 and 1, as normflows has them unless it is told otherwise.
    "glow-sigmoid": lambda height, width: glow(height, width, "sigmoid"),
    "real-nvp": real_nvp,
    "nice": nice,
}


def bits(flow, pixels, levels):
    """Bits per dim of each image, with the grey levels filled by uniform noise."""
    x = torch.from_numpy(pixels).float()[:, None]
    p = ALPHA + (1 - 2 * ALPHA) * (x + torch.rand_like(x)) / levels
    log_det = (math.log(1 - 2 * ALPHA) - p.log() - (1 - p).log()).flatten(1).sum(1)
    log_prob = flow.log_prob(p.log() - (1 - p).log(), None) + log_det
    return math.log2(levels) - log_prob / x[0].numel() / math.log(2)


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--flow", choices=FLOWS, default="glow")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--checkpoint", type=pathlib.Path)
    return parser.parse_args()


def main():
    asked = arguments()
    train, test, levels = idx(asked.folder) if asked.folder else digits()
    epochs = asked.epochs or (1 if asked.folder else 30)
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    flow = FLOWS[asked.flow](*train.shape[1:])
    parameters = [p for p in flow.parameters() if p.requires_grad]
    adam = torch.optim.Adam(parameters, lr=LR)
    all = epochs * -(-len(train) // BATCH)
    warm_up = min(WARM_UP, all // 10)
    cosine = lambda k: 0.5 + 0.5 * math.cos(math.pi * (k - warm_up) / (all - warm_up))
    schedule = torch.optim.lr_scheduler.LambdaLR(adam, lambda k: (k + 1) / warm_up if k < warm_up else cosine(k))
    flow.eval()
    with torch.no_grad():
        # Starts the activation normalization.
        bits(flow, train[:256], levels)
    begun, seconds, last = 0, 0.0, []
    if asked.checkpoint and asked.checkpoint.exists():
        kept = torch.load(asked.checkpoint, weights_only=False)
        flow.load_state_dict(kept["flow"])
        adam.load_state_dict(kept["adam"])
        schedule.load_state_dict(kept["schedule"])
        rng.bit_generator.state = kept["numpy"]
        torch.set_rng_state(kept["torch"])
        begun, seconds, last = kept["epochs"], kept["seconds"], kept["last"]
    for epoch in range(begun, epochs):
        start, last = time.perf_counter(), []
        flow.train()
        for indices in np.array_split(rng.permutation(len(train)), -(-len(train) // BATCH)):
            loss = bits(flow, train[indices], levels).mean()
            adam.zero_grad()
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(parameters, MAX_NORM)
            if norm.isfinite():
                adam.step()
            schedule.step()
            last.append(loss.item())
        seconds += time.perf_counter() - start
        print(f"epoch {epoch + 1} of {epochs}: training {np.mean(last):.3f}", file=sys.stderr, flush=True)
        if asked.checkpoint:
            kept = {
                "flow": flow.state_dict(),
                "adam": adam.state_dict(),
                "schedule": schedule.state_dict(),
                "numpy": rng.bit_generator.state,
                "torch": torch.get_rng_state(),
                "epochs": epoch + 1,
                "seconds": seconds,
                "last": last,
            }
            torch.save(kept, asked.checkpoint.with_suffix(".part"))
            asked.checkpoint.with_suffix(".part").replace(asked.checkpoint)
    flow.eval()
    with torch.no_grad():
        values = torch.cat([bits(flow, test[i : i + BATCH], levels) for i in range(0, len(test), BATCH)]).double()
    count = sum(p.numel() for p in parameters)
    name = pathlib.Path(asked.folder).resolve().name if asked.folder else "digits"
    print(
        f"normflows {asked.flow} {name:14} bits per dim {values.mean():.3f} ({values.std() / math.sqrt(len(values)):.3f})"
        f"  training {np.mean(last):.3f}  {seconds:.1f} s  {count} parameters",
        flush=True,
    )


if __name__ == "__main__":
    main()
