"""The workloads of benches/conv.rs in PyTorch: median milliseconds on two threads.

python benches/peers/encoder.py
"""

import statistics
import time

import torch
from torch import nn


def median(name, f, runs=40):
    for _ in range(5):
        f()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        f()
        times.append((time.perf_counter() - start) * 1e3)
    print(f"{name:40} median {statistics.median(times):8.2f} ms   min {min(times):8.2f} ms")


def layer():
    x = torch.randn(64, 64, 14, 14, requires_grad=True)
    conv = nn.Conv2d(64, 128, 4, 2, 1)

    def forward():
        with torch.no_grad():
            torch.relu(conv(x))

    def backward():
        x.grad = None
        conv.zero_grad(set_to_none=True)
        torch.relu(conv(x)).sum().backward()

    median("conv2d/64x64x14x14 k4s2/forward", forward)
    median("conv2d/64x64x14x14 k4s2/gradient", backward)


def encoder(channels_last):
    layout = torch.channels_last if channels_last else torch.contiguous_format
    x = torch.rand(64, 1, 64, 64).to(memory_format=layout)
    net = nn.Sequential(
        nn.Conv2d(1, 32, 4, 2, 1), nn.ReLU(),
        nn.Conv2d(32, 64, 4, 2, 1), nn.ReLU(),
        nn.Conv2d(64, 128, 4, 2, 1), nn.ReLU(),
        nn.Flatten(), nn.Linear(8192, 256), nn.ReLU(),
    ).to(memory_format=layout)
    adam = torch.optim.Adam(net.parameters(), 1e-3)

    def gradient():
        adam.zero_grad(set_to_none=True)
        net(x).square().mean().backward()

    def step():
        gradient()
        adam.step()

    name = "channels last" if channels_last else "channels first"
    with torch.no_grad():
        median(f"encoder/64 images/forward, {name}", lambda: net(x))
    median(f"encoder/64 images/gradient, {name}", gradient)
    median(f"encoder/64 images/step, {name}", step)


if __name__ == "__main__":
    torch.set_num_threads(2)
    torch.manual_seed(0)
    layer()
    encoder(False)
    encoder(True)
