#!/usr/bin/env python3
"""The workloads of `cargo bench` in PyTorch (eager) and JAX (jit), float32, for a comparison in one sitting.

    python benches/peers/peers.py torch gaussian samplers distributions mixture flows couplings splines vae encoder convvae dcgan
    python benches/peers/peers.py torch adversarial dynamics narrow verlet_images
    python benches/peers/peers.py jax gaussian mixture couplings splines vae adversarial dynamics narrow
    python benches/peers/peers.py numpy select
    python benches/peers/peers.py abess
    python benches/peers/peers.py skscope

Needs torch and jax (optax for jax's vae; for couplings and splines zuko, nflows, normflows and flowjax; abess, skscope).
Prints the median and the smallest time of each workload in milliseconds, and how much memory a step takes at most.
THREADS sets the number of threads (2).
"""
import ctypes, math, os, statistics, sys, time

THREADS = int(os.environ.get("THREADS", "2"))
for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, str(THREADS))
os.environ.setdefault("JAX_PLATFORMS", "cpu")


def memory(run):
    """MiB by which the resident size grows at most in a run; Linux with glibc."""
    def status(key):
        with open("/proc/self/status") as file:
            return next(int(line.split()[1]) for line in file if line.startswith(key)) / 1024

    ctypes.CDLL(None).malloc_trim(0)
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    resident = status("VmRSS")
    run()
    return status("VmHWM") - resident


def bench(name, run, wait=lambda result: result, seconds=float(os.environ.get("SECONDS", "4")), repeats=10):
    for _ in range(3 if repeats > 3 else 1):
        wait(run())
    peak = memory(lambda: wait(run()))
    times, start = [], time.perf_counter()
    while len(times) < repeats or (time.perf_counter() - start < seconds and len(times) < 300):
        t = time.perf_counter()
        wait(run())
        times.append((time.perf_counter() - t) * 1e3)
    print(f"{sys.argv[1]:6} {name:42} median {statistics.median(times):9.3f} ms  min {min(times):9.3f} ms  {peak:6.0f} MiB", flush=True)


def critics(exp, log, log1p, expm1, tanh, softplus, relu, where):
    """Losses of critics from scores r of data and f of fakes, by the formulas that the peers' users write."""
    mean = lambda x: x.mean()
    a = 0.3

    def root(v):
        """ln w with w e^w = e^(1-v)"""
        l = where(v < 0, log1p(relu(-v)), -v / 2)
        for _ in range(4):
            grown = expm1(l)
            l = l - (l + grown + v) / (2 + grown)
        return l

    def jeffreys(r, f):
        l = root(f)
        return mean(expm1(-l) - l) - mean(r)

    return {
        "minimax": lambda r, f: mean(softplus(-r)) + mean(softplus(f)),
        "kl": lambda r, f: mean(exp(f - 1)) - mean(r),
        "reverse_kl": lambda r, f: mean(exp(-r)) + mean(f - 1),
        "squared_hellinger": lambda r, f: mean(exp(f) - 1) - mean(1 - exp(-r)),
        "jensen_shannon": lambda r, f: (mean(softplus(f)) + mean(softplus(-r))) / 2 - math.log(2),
        "gan": lambda r, f: mean(softplus(-r)) + mean(softplus(f)) - math.log(4),
        "pearson": lambda r, f: mean(where(f < -2, f * 0 - 1, f * f / 4 + f)) - mean(r),
        "neyman": lambda r, f: mean(2 - 2 * exp(-f / 2)) - mean(1 - exp(-r)),
        "total_variation": lambda r, f: mean(tanh(f)) / 2 - mean(tanh(r)) / 2,
        "jeffreys": jeffreys,
        "alpha": lambda r, f: mean(exp(a / (a - 1) * log((1 - a) * softplus(-f))) - 1) / a - mean(1 / (1 - a) - softplus(-r)),
        "least_squares": lambda r, f: (mean((r - 1) ** 2) + mean(f ** 2)) / 2,
        "hinge": lambda r, f: mean(relu(1 - r)) + mean(relu(1 + f)),
        "wasserstein": lambda r, f: mean(f) - mean(r),
        "relativistic_average": lambda r, f: mean(softplus(mean(f) - r)) + mean(softplus(f - mean(r))),
    }


def torch_peer(workloads):
    import torch
    from torch import nn
    from torch.nn import functional as F

    torch.set_num_threads(THREADS)
    torch.manual_seed(0)

    def conditioner(width):
        """Networks of two hidden layers, called as nflows calls them."""
        class Net(nn.Sequential):
            def __init__(self, inputs, outputs):
                super().__init__(nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, outputs))

            def forward(self, x, context=None):
                return super().forward(x)

        return Net

    def backward(loss, parameters):
        def run():
            for p in parameters:
                p.grad = None
            loss().backward()
        return run

    def forward(f):
        def run():
            with torch.no_grad():
                return f()
        return run

    if "gaussian" in workloads:
        mu = torch.randn(4096, 256, requires_grad=True)
        log_var = (0.1 * torch.randn(4096, 256)).requires_grad_()
        for samples in (1, 12):
            shape = (4096, 256) if samples == 1 else (samples, 4096, 256)

            def both():
                z = mu + (0.5 * log_var).exp() * torch.randn(shape)
                return z, 0.5 * (mu * mu + log_var.exp() - 1 - log_var).sum(-1)

            def loss():
                z, kl = both()
                return (z * z).mean() + kl.mean()

            bench(f"gaussian S={samples} forward", forward(both))
            bench(f"gaussian S={samples} forward+backward", backward(loss, (mu, log_var)))
    if "adversarial" in workloads:
        r, f = (torch.randn(65536, requires_grad=True) for _ in range(2))
        losses = critics(torch.exp, torch.log, torch.log1p, torch.expm1, torch.tanh, F.softplus, torch.relu, torch.where)
        for name, loss in losses.items():
            bench(f"critic {name} eager", backward(lambda: loss(r, f), [r, f]))
            torch._dynamo.reset()
            compiled = torch.compile(loss)
            bench(f"critic {name} compiled", backward(lambda: compiled(r, f), [r, f]))
    if "samplers" in workloads:
        from torch.distributions import Dirichlet, Gamma
        bench("normal 10M", lambda: torch.randn(10_000_000))
        a = torch.empty(1_000_000).uniform_(0.1, 10).requires_grad_()
        d = torch.empty(100_000, 10).uniform_(0.1, 10).requires_grad_()
        w = torch.randn(100_000, 10)
        gamma = lambda: Gamma(a, torch.ones(()), validate_args=False).rsample()
        dirichlet = lambda: Dirichlet(d, validate_args=False).rsample()
        bench("gamma 1M forward", forward(gamma))
        bench("gamma 1M forward+backward", backward(lambda: gamma().sum(), (a,)))
        bench("dirichlet 100k x 10 forward", forward(dirichlet))
        bench("dirichlet 100k x 10 forward+backward", backward(lambda: (w * dirichlet()).sum(), (d,)))
    if "distributions" in workloads:
        from torch import distributions as D
        n = 1_000_000
        positive = lambda *shape: torch.empty(*shape).uniform_(0.5, 5)
        real = torch.randn

        def family(name, make, parameters):
            """Density, density with all gradients, and draws (with gradient where there are pathwise ones)."""
            leaves = [p.clone().requires_grad_() for p in parameters]
            build = lambda p: make(*p, validate_args=False)
            x = build(parameters).sample() if parameters[0].dim() else build(parameters).sample((n,))
            shape = () if parameters[0].dim() else (n,)
            bench(f"{name} log_prob", forward(lambda: build(parameters).log_prob(x)))
            values = [x.clone().requires_grad_()] if x.is_floating_point() else []
            both = lambda: build(leaves).log_prob(values[0] if values else x).sum()
            bench(f"{name} log_prob gradient", backward(both, leaves + values))
            bench(f"{name} sample", forward(lambda: build(parameters).sample(shape)))

        for name, make, parameters in (
            ("normal", D.Normal, lambda s: (real(s), positive(s))),
            ("gamma", D.Gamma, lambda s: (positive(s), positive(s))),
            ("beta", D.Beta, lambda s: (positive(s), positive(s))),
            ("student_t", D.StudentT, lambda s: (positive(s) + 1, real(s), positive(s))),
            ("laplace", D.Laplace, lambda s: (real(s), positive(s))),
        ):
            family(f"{name}/each", make, parameters((n,)))
            family(f"{name}/one", make, parameters(()))
        family("dirichlet/100k x 10", D.Dirichlet, (positive(100_000, 10),))
        categorical = lambda logits, **k: D.Categorical(logits=logits, **k)
        family("categorical/100k x 10", categorical, (real(100_000, 10),))
        family("categorical/4096 x 1000", categorical, (real(4096, 1000),))
        tril = torch.tril(0.1 * real(64, 64), -1) + torch.diag(positive(64))
        normal = lambda loc, tril, **k: D.MultivariateNormal(loc, scale_tril=tril, **k)
        family("multivariate_normal/10k x 64", normal, (real(10_000, 64), tril))

        def mixture(logits, loc, scale, **k):
            return D.MixtureSameFamily(D.Categorical(logits=logits, **k), D.Normal(loc, scale, **k), **k)

        family("mixture/100k x 8", mixture, (real(100_000, 8), real(100_000, 8), positive(100_000, 8)))
    if "mixture" in workloads:
        n, k, dim = 20000, 32, 16
        x = torch.randn(n, dim)
        mu = torch.randn(k, dim, requires_grad=True)
        log_scale = (0.1 * torch.randn(k, dim)).requires_grad_()
        logits = torch.randn(k, requires_grad=True)

        def log_prob():
            inverse = (-2 * log_scale).exp()
            q = (x * x) @ inverse.T - 2 * (x @ (mu * inverse).T) + (mu * mu * inverse).sum(-1)
            constant = 0.5 * dim * math.log(2 * math.pi)
            return torch.logsumexp(torch.log_softmax(logits, 0) - log_scale.sum(-1) - constant - 0.5 * q, -1)

        bench("mixture (matrix products) forward", forward(log_prob))
        bench("mixture (matrix products) forward+backward", backward(lambda: -log_prob().mean(), (mu, log_scale, logits)))
    if "flows" in workloads:
        rows, features, half, hidden = 4096, 64, 32, 256
        x = torch.randn(rows, features)
        net = lambda: nn.Sequential(nn.Linear(half, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, features))
        nets = nn.ModuleList([net() for _ in range(8)])
        constant = 0.5 * features * math.log(2 * math.pi)

        def log_prob():
            a, b, log_det = x[:, :half], x[:, half:], 0
            for net in nets:
                s, t = net(a).chunk(2, -1)
                s = 2 * torch.tanh(s / 2)
                a, b, log_det = b * s.exp() + t, a, log_det + s.sum(-1)
            return log_det - 0.5 * (a * a + b * b).sum(-1) - constant

        def sample():
            z = torch.randn(rows, features)
            a, b = z[:, :half], z[:, half:]
            for net in reversed(nets):
                s, t = net(b).chunk(2, -1)
                a, b = b, (a - t) * (-2 * torch.tanh(s / 2)).exp()
            return torch.cat([a, b], -1)

        loss = lambda: -log_prob().mean()
        points, width, steps = torch.randn(1024, 2), 64, 40
        field = nn.Sequential(nn.Linear(2, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 2))
        first, _, second, _, third = field

        def velocity(y):
            """And its trace, by tangents written out."""
            h1 = torch.tanh(first(y))
            h2 = torch.tanh(second(h1))
            d1, d2, trace = 1 - h1 * h1, 1 - h2 * h2, 0
            for i in range(2):
                trace = trace + (d2 * ((d1 * first.weight[:, i]) @ second.weight.T)) @ third.weight[i]
            return third(h2), trace

        def continuous(velocity):
            y, log_det, h = points, torch.zeros(1024), 1 / steps
            for _ in range(steps):
                a, ta = velocity(y)
                b, tb = velocity(y + 0.5 * h * a)
                c, tc = velocity(y + 0.5 * h * b)
                d, td = velocity(y + h * c)
                y = y + h / 6 * (a + 2 * b + 2 * c + d)
                log_det = log_det + h / 6 * (ta + 2 * tb + 2 * tc + td)
            return (0.5 * (y * y).sum(-1) - log_det).mean()

        for kind, f in (("eager", velocity), ("compiled", torch.compile(velocity))):
            run = lambda: continuous(f)
            bench(f"ffjord log_prob {kind}", forward(run))
            bench(f"ffjord log_prob gradient {kind}", backward(run, list(field.parameters())))
        for kind, (f, g, h) in (("eager", (log_prob, loss, sample)), ("compiled", map(torch.compile, (log_prob, loss, sample)))):
            bench(f"real_nvp log_prob {kind}", forward(f))
            bench(f"real_nvp log_prob gradient {kind}", backward(g, list(nets.parameters())))
            bench(f"real_nvp sample {kind}", forward(h))
    if "couplings" in workloads:
        import normflows, zuko
        from nflows import distributions, flows, transforms
        rows, features, half, hidden, layers = 4096, 64, 32, 256, 8
        x = torch.randn(rows, features)

        Net = conditioner(hidden)
        coupling = lambda i: transforms.AffineCouplingTransform((torch.arange(features) + i) % 2, Net)
        nflows = flows.Flow(transforms.CompositeTransform([coupling(i) for i in range(layers)]), distributions.StandardNormal([features]))
        block = lambda: [normflows.flows.AffineCouplingBlock(Net(half, features)), normflows.flows.Permute(features, mode="swap")]
        normal = normflows.distributions.DiagGaussian(features)
        normflow = normflows.NormalizingFlow(normal, [part for _ in range(layers) for part in block()])
        real_nvp = zuko.flows.RealNVP(features, transforms=layers, hidden_features=(hidden, hidden))
        peers = (
            ("nflows", nflows, lambda: nflows.log_prob(x), lambda: nflows.sample(rows)),
            ("normflows", normflow, lambda: normflow.log_prob(x), lambda: normflow.sample(rows)),
            ("zuko", real_nvp, lambda: real_nvp().log_prob(x), lambda: real_nvp().sample((rows,))),
        )
        for name, model, log_prob, sample in peers:
            bench(f"real_nvp {name} log_prob", forward(log_prob))
            bench(f"real_nvp {name} log_prob gradient", backward(lambda: -log_prob().mean(), list(model.parameters())))
            bench(f"real_nvp {name} sample", forward(sample))
    if "splines" in workloads:
        import zuko
        from nflows import distributions, flows, transforms
        rows, features, layers, width, bins = 4096, 16, 5, 128, 8
        x = torch.randn(rows, features)

        Net = conditioner(width)
        def coupling(i):
            mask = (torch.arange(features) + i) % 2
            return transforms.PiecewiseRationalQuadraticCouplingTransform(mask, Net, num_bins=bins, tails="linear", tail_bound=5.0)

        nflows = flows.Flow(
            transforms.CompositeTransform([coupling(i) for i in range(layers)]), distributions.StandardNormal([features]))
        nsf = zuko.flows.NSF(features, transforms=layers, bins=bins, hidden_features=(width, width))
        density = lambda: nsf().log_prob(x)
        peers = (
            ("coupling nflows", nflows, lambda: nflows.log_prob(x), lambda: nflows.sample(rows)),
            ("autoregressive zuko", nsf, density, lambda: nsf().sample((rows,))),
            ("autoregressive zuko compiled", nsf, torch.compile(density), None),
        )
        for name, model, log_prob, sample in peers:
            bench(f"{name} log_prob", forward(log_prob))
            bench(f"{name} log_prob gradient", backward(lambda: -log_prob().mean(), list(model.parameters())))
            if sample:
                bench(f"{name} sample", forward(sample))
    if "vae" in workloads:
        x = (torch.rand(128, 784) > 0.5).float()
        e1, e2, d1, d2 = nn.Linear(784, 400), nn.Linear(400, 40), nn.Linear(20, 400), nn.Linear(400, 784)
        adam = torch.optim.Adam([p for m in (e1, e2, d1, d2) for p in m.parameters()], 1e-3)

        def elbo():
            m, log_var = e2(F.relu(e1(x))).chunk(2, -1)
            z = m + (0.5 * log_var).exp() * torch.randn(128, 20)
            nll = F.binary_cross_entropy_with_logits(d2(F.relu(d1(z))), x, reduction="sum")
            return (nll + 0.5 * (m * m + log_var.exp() - 1 - log_var).sum()) / 128

        def iwae():
            m, log_var = e2(F.relu(e1(x))).chunk(2, -1)
            noise = torch.randn(50, 128, 20)
            z = m + (0.5 * log_var).exp() * noise
            nll = F.binary_cross_entropy_with_logits(d2(F.relu(d1(z))), x.expand(50, 128, 784), reduction="none").sum(-1)
            log_weights = 0.5 * (noise * noise + log_var - z * z).sum(-1) - nll
            return -(torch.logsumexp(log_weights, 0) - math.log(50)).mean()

        def step(loss):
            def run():
                adam.zero_grad()
                loss().backward()
                adam.step()
            return run

        for name, loss in (("vae 128 x 784-400-20-400-784", elbo), ("iwae of 50 samples", iwae)):
            bench(f"{name} Adam step", step(loss))
            bench(f"{name} Adam step compiled", step(torch.compile(loss)))
    if "encoder" in workloads:
        net = nn.Sequential(
            nn.Conv2d(1, 32, 4, 2, 1), nn.ReLU(), nn.Conv2d(32, 64, 4, 2, 1), nn.ReLU(),
            nn.Conv2d(64, 128, 4, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(128 * 8 * 8, 256), nn.ReLU())
        adam = torch.optim.Adam(net.parameters(), 1e-3)
        x = torch.randn(64, 1, 64, 64)

        def step():
            adam.zero_grad()
            net(x).square().mean().backward()
            adam.step()

        bench("encoder 64 images Adam step", step)
        a = torch.randn(64, 64, 14, 14, requires_grad=True)
        w = torch.randn(128, 64, 4, 4, requires_grad=True)
        b = torch.zeros(128, requires_grad=True)
        layer = lambda: F.relu(F.conv2d(a, w, b, stride=2, padding=1))
        bench("conv2d 64x64x14x14 k4s2 forward", forward(layer))
        bench("conv2d 64x64x14x14 k4s2 forward+backward", backward(lambda: layer().square().mean(), (a, w, b)))
    if "convvae" in workloads:
        for channels, size, to in ((64, 7, 32), (32, 14, 1)):
            a = torch.randn(64, channels, size, size, requires_grad=True)
            w = torch.randn(channels, to, 4, 4, requires_grad=True)
            b = torch.zeros(to, requires_grad=True)
            layer = lambda: F.relu(F.conv_transpose2d(a, w, b, stride=2, padding=1))
            name = f"conv_transpose2d 64x{channels}x{size}x{size} to {to}"
            bench(f"{name} forward", forward(layer))
            bench(f"{name} forward+backward", backward(lambda: layer().square().mean(), (a, w, b)))

        def convvae(name, order, compiled):
            encoder = nn.Sequential(
                nn.Conv2d(1, 32, 4, 2, 1), nn.ReLU(), nn.Conv2d(32, 64, 4, 2, 1), nn.ReLU(), nn.Flatten(),
                nn.Linear(64 * 7 * 7, 40))
            decoder = nn.Sequential(
                nn.Linear(20, 64 * 7 * 7), nn.ReLU(), nn.Unflatten(1, (64, 7, 7)),
                nn.ConvTranspose2d(64, 32, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(32, 1, 4, 2, 1))
            encoder, decoder = encoder.to(memory_format=order), decoder.to(memory_format=order)
            x = (torch.rand(64, 1, 28, 28) > 0.5).float().to(memory_format=order)
            adam = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], 1e-3)

            def loss():
                m, log_var = encoder(x).chunk(2, -1)
                z = m + (0.5 * log_var).exp() * torch.randn(64, 20)
                nll = F.binary_cross_entropy_with_logits(decoder(z), x, reduction="sum")
                return (nll + 0.5 * (m * m + log_var.exp() - 1 - log_var).sum()) / 64

            loss = torch.compile(loss) if compiled else loss

            def step():
                adam.zero_grad()
                loss().backward()
                adam.step()

            bench(f"conv vae 64 x 28x28 Adam step, {name}", step)

        convvae("channels first", torch.contiguous_format, False)
        convvae("channels last", torch.channels_last, False)
        if hasattr(torch, "compile") and os.environ.get("COMPILE", "1") == "1":
            convvae("compiled", torch.contiguous_format, True)

    if "dcgan" in workloads:
        a = torch.randn(64, 64, 14, 14, requires_grad=True)
        norm = nn.BatchNorm2d(64)
        layer = lambda: F.relu(norm(a))
        bench("batch norm 64x64x14x14, relu forward", forward(layer))
        bench("batch norm 64x64x14x14, relu forward+backward", backward(lambda: layer().square().mean(), (a, *norm.parameters())))

        def dcgan(name, order):
            generator = nn.Sequential(
                nn.Linear(64, 128 * 49), nn.Unflatten(1, (128, 7, 7)), nn.BatchNorm2d(128), nn.ReLU(),
                nn.ConvTranspose2d(128, 64, 4, 2, 1), nn.BatchNorm2d(64), nn.ReLU(),
                nn.ConvTranspose2d(64, 1, 4, 2, 1), nn.Tanh()).to(memory_format=order)
            critic = nn.Sequential(
                nn.Conv2d(1, 64, 4, 2, 1), nn.LeakyReLU(0.2), nn.Conv2d(64, 128, 4, 2, 1), nn.BatchNorm2d(128),
                nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(128 * 49, 1)).to(memory_format=order)
            adams = [torch.optim.Adam(net.parameters(), 2e-4) for net in (generator, critic)]
            x = torch.randn(64, 1, 28, 28).to(memory_format=order)

            def step(frozen):
                fakes = generator(torch.randn(64, 64))
                adams[1].zero_grad()
                (F.softplus(-critic(x)).mean() + F.softplus(critic(fakes.detach())).mean()).backward()
                adams[1].step()
                adams[0].zero_grad()
                critic.requires_grad_(not frozen)
                F.softplus(-critic(fakes)).mean().backward()
                critic.requires_grad_(True)
                adams[0].step()

            bench(f"dcgan 64 x 28x28 step, {name}", lambda: step(False))
            bench(f"dcgan 64 x 28x28 step, {name}, critic frozen for the generator", lambda: step(True))

        dcgan("channels first", torch.contiguous_format)
        dcgan("channels last", torch.channels_last)
    if "dynamics" in workloads or "narrow" in workloads:
        def verlet(rows, width, layers, scale, repeats):
            kernels = [(scale * torch.randn(width, width)).requires_grad_() for _ in range(layers)]
            y, z, h = torch.randn(rows, width), torch.randn(rows, width), 4 / layers

            def end(kernels):
                a, b = y, z
                for k in kernels:
                    b = b - h * torch.tanh(a @ k.T)
                    a = a + h * torch.tanh(b @ k)
                return a, b

            def loss():
                a, b = end(kernels)
                return (a * a).mean() + (b * b).mean()

            name = f"verlet {rows} x {width}, {layers} layers"
            bench(f"{name}, forward", forward(loss), repeats=repeats)
            bench(f"{name}, forward+backward", backward(loss, kernels), repeats=repeats)
            # J v and J^T u of a kept forward pass.
            stack = torch.stack([k.detach() for k in kernels])
            along = torch.randn_like(stack)
            pushed = lambda: torch.func.jvp(lambda stack: end(stack.unbind())[0], (stack,), (along,))
            if width < 64:
                bench(f"{name}, J v", forward(pushed), repeats=repeats)
                a, _ = end(kernels)
                u = torch.ones_like(a)
                pulled = lambda: torch.autograd.grad(a, kernels, u, retain_graph=True, allow_unused=True)
                bench(f"{name}, J^T u", pulled, repeats=repeats)

        if "dynamics" in workloads:
            verlet(4096, 64, 1024, 0.1, 3)
        if "narrow" in workloads:
            verlet(5000, 2, 1024, 1, 3)
            verlet(5000, 8, 1024, 1, 3)
    if "verlet_images" in workloads:
        def images(name, order, compiled):
            x = torch.randn(64, 6, 28, 28).to(memory_format=order)
            kernels = [(0.1 * torch.randn(6, 6, 3, 3)).requires_grad_() for _ in range(16)]
            first, second = ([(0.1 * torch.randn(6)).requires_grad_() for _ in range(16)] for _ in range(2))
            h = 6 / 16

            def end(kernels):
                y, z = x, torch.zeros_like(x)
                for k, a, b in zip(kernels, first, second):
                    z = z - h * torch.tanh(F.conv2d(y, k, b, padding=1))
                    y = y + h * torch.tanh(F.conv_transpose2d(z, k, a, padding=1))
                return y

            end = torch.compile(end) if compiled else end
            name = f"verlet 64 x 6 x 28 x 28, 16 layers, {name}"
            bench(f"{name}, forward", forward(lambda: end(kernels)))
            bench(f"{name}, forward+backward", backward(lambda: end(kernels).square().mean(), kernels + first + second))
            if not compiled:
                along = [torch.randn_like(k) for k in kernels]
                pushed = lambda: torch.func.jvp(lambda *kernels: end(kernels), tuple(k.detach() for k in kernels), tuple(along))
                bench(f"{name}, J v", forward(pushed))
                y = end(kernels)
                u = torch.ones_like(y)
                bench(f"{name}, J^T u", lambda: torch.autograd.grad(y, kernels, u, retain_graph=True))

        images("channels first", torch.contiguous_format, False)
        images("channels last", torch.channels_last, False)
        if hasattr(torch, "compile") and os.environ.get("COMPILE", "1") == "1":
            images("compiled", torch.contiguous_format, True)


def jax_peer(workloads):
    import jax
    import jax.numpy as jnp

    wait = jax.block_until_ready
    key = jax.random.key(0)
    if "gaussian" in workloads:
        mu = jax.random.normal(key, (4096, 256))
        log_var = 0.1 * jax.random.normal(key, (4096, 256))
        for samples in (1, 12):
            shape = (4096, 256) if samples == 1 else (samples, 4096, 256)

            def both(mu, log_var, key):
                z = mu + jnp.exp(0.5 * log_var) * jax.random.normal(key, shape)
                return z, 0.5 * (mu * mu + jnp.exp(log_var) - 1 - log_var).sum(-1)

            def loss(mu, log_var, key):
                z, kl = both(mu, log_var, key)
                return (z * z).mean() + kl.mean()

            f, g = jax.jit(both), jax.jit(jax.value_and_grad(loss, (0, 1)))
            bench(f"gaussian S={samples} forward", lambda: f(mu, log_var, key), wait)
            bench(f"gaussian S={samples} forward+backward", lambda: g(mu, log_var, key), wait)
    if "adversarial" in workloads:
        r, f = (jax.random.normal(key, (65536,)) for key in jax.random.split(key))
        nn = jax.nn
        losses = critics(jnp.exp, jnp.log, jnp.log1p, jnp.expm1, jnp.tanh, nn.softplus, nn.relu, jnp.where)
        for name, loss in losses.items():
            gradient = jax.jit(jax.value_and_grad(loss, (0, 1)))
            bench(f"critic {name}", lambda: gradient(r, f), wait)
    if "samplers" in workloads:
        n = jax.jit(lambda k: jax.random.normal(k, (10_000_000,)))
        bench("normal 10M", lambda: n(key), wait)
    if "couplings" in workloads or "splines" in workloads:
        import equinox
        from flowjax.bijections import Affine, RationalQuadraticSpline
        from flowjax.distributions import Normal
        from flowjax.flows import coupling_flow, masked_autoregressive_flow

        def flow(name, make, features, transformer, layers, width):
            x = jax.random.normal(key, (4096, features))
            base = Normal(jnp.zeros(features))
            flow = make(key, base_dist=base, transformer=transformer, flow_layers=layers, nn_width=width, nn_depth=2)
            f = equinox.filter_jit(lambda flow, x: flow.log_prob(x))
            g = equinox.filter_jit(equinox.filter_value_and_grad(lambda flow, x: -flow.log_prob(x).mean()))
            h = equinox.filter_jit(lambda flow, key: flow.sample(key, (4096,)))
            bench(f"{name} flowjax log_prob", lambda: f(flow, x), wait)
            bench(f"{name} flowjax log_prob gradient", lambda: g(flow, x), wait)
            bench(f"{name} flowjax sample", lambda: h(flow, key), wait)

        if "couplings" in workloads:
            flow("real_nvp", coupling_flow, 64, Affine(), 8, 256)
        if "splines" in workloads:
            spline = RationalQuadraticSpline(knots=8, interval=5)
            flow("coupling", coupling_flow, 16, spline, 5, 128)
            flow("autoregressive", masked_autoregressive_flow, 16, spline, 5, 128)
    if "mixture" in workloads:
        n, k, dim = 20000, 32, 16
        keys = jax.random.split(key, 4)
        x = jax.random.normal(keys[0], (n, dim))
        p = (jax.random.normal(keys[1], (k, dim)), 0.1 * jax.random.normal(keys[2], (k, dim)), jax.random.normal(keys[3], (k,)))

        def log_prob(p, x):
            mu, log_scale, logits = p
            inverse = jnp.exp(-2 * log_scale)
            q = (x * x) @ inverse.T - 2 * (x @ (mu * inverse).T) + (mu * mu * inverse).sum(-1)
            constant = 0.5 * dim * math.log(2 * math.pi)
            return jax.nn.logsumexp(jax.nn.log_softmax(logits) - log_scale.sum(-1) - constant - 0.5 * q, -1)

        f, g = jax.jit(log_prob), jax.jit(jax.value_and_grad(lambda p, x: -log_prob(p, x).mean()))
        bench("mixture (matrix products) forward", lambda: f(p, x), wait)
        bench("mixture (matrix products) forward+backward", lambda: g(p, x), wait)
    if "vae" in workloads:
        import optax
        x = (jax.random.uniform(key, (128, 784)) > 0.5).astype("f4")
        sizes = ((784, 400), (400, 40), (20, 400), (400, 784))
        p = [(jax.random.normal(jax.random.fold_in(key, i), s) / math.sqrt(3 * s[0]), jnp.zeros(s[1])) for i, s in enumerate(sizes)]
        adam = optax.adam(1e-3)
        state = [p, adam.init(p)]
        linear = lambda p, a: a @ p[0] + p[1]

        def encode(p):
            return jnp.split(linear(p[1], jax.nn.relu(linear(p[0], x))), 2, -1)

        def nll(p, z):
            logits = linear(p[3], jax.nn.relu(linear(p[2], z)))
            return (jax.nn.softplus(logits) - x * logits).sum(-1)

        def elbo(p, key):
            m, log_var = encode(p)
            z = m + jnp.exp(0.5 * log_var) * jax.random.normal(key, (128, 20))
            return (nll(p, z).sum() + 0.5 * (m * m + jnp.exp(log_var) - 1 - log_var).sum()) / 128

        def iwae(p, key):
            m, log_var = encode(p)
            noise = jax.random.normal(key, (50, 128, 20))
            z = m + jnp.exp(0.5 * log_var) * noise
            log_weights = 0.5 * (noise * noise + log_var - z * z).sum(-1) - nll(p, z)
            return -(jax.nn.logsumexp(log_weights, 0) - math.log(50)).mean()

        for name, loss in (("vae 128 x 784-400-20-400-784", elbo), ("iwae of 50 samples", iwae)):
            def step(p, s, key):
                u, s = adam.update(jax.grad(loss)(p, key), s)
                return optax.apply_updates(p, u), s

            jitted = jax.jit(step, donate_argnums=(0, 1))

            def go():
                state[0], state[1] = jitted(state[0], state[1], key)
                return state[0]

            bench(f"{name} Adam step", go, wait)
    if "dynamics" in workloads or "narrow" in workloads:
        def verlet(rows, width, layers, scale, repeats):
            keys = jax.random.split(key, 4)
            kernels = scale * jax.random.normal(keys[0], (layers, width, width))
            y, z = (jax.random.normal(key, (rows, width)) for key in keys[1:3])
            h = 4 / layers

            def layer(state, k):
                y, z = state
                z = z - h * jnp.tanh(y @ k.T)
                y = y + h * jnp.tanh(z @ k)
                return (y, z), None

            def end(kernels):
                return jax.lax.scan(layer, (y, z), kernels)[0]

            def loss(kernels):
                y, z = end(kernels)
                return (y * y).mean() + (z * z).mean()

            f, g = jax.jit(loss), jax.jit(jax.value_and_grad(loss))
            name = f"verlet {rows} x {width}, {layers} layers"
            bench(f"{name}, forward", lambda: f(kernels), wait, repeats=repeats)
            bench(f"{name}, forward+backward", lambda: g(kernels), wait, repeats=repeats)
            if width < 64:
                along = jax.random.normal(keys[3], kernels.shape)
                pushed = jax.jit(lambda k, v: jax.jvp(lambda k: end(k)[0], (k,), (v,)))
                bench(f"{name}, J v", lambda: pushed(kernels, along), wait, repeats=repeats)
                _, pull = jax.vjp(lambda k: end(k)[0], kernels)
                pull = jax.jit(pull)
                bench(f"{name}, J^T u", lambda: pull(y), wait, repeats=repeats)

        if "dynamics" in workloads:
            verlet(4096, 64, 1024, 0.1, 3)
        if "narrow" in workloads:
            verlet(5000, 2, 1024, 1, 3)
            verlet(5000, 8, 1024, 1, 3)


def numpy_peer(workloads):
    import numpy as np

    rng = np.random.default_rng(0)
    if "select" in workloads:
        for n, d, c in ((102, 6033, 2), (2000, 20000, 10)):
            x = rng.standard_normal((n, d), dtype="f4")
            label = np.arange(n) % c
            x[:, :20] += (3 * (label[:, None] % 2) - 1.5).astype("f4")
            x -= x.mean(0)
            y = np.eye(c, dtype="f4")[label]
            y -= y.mean(0)
            top = 2 * (math.sqrt(n) + math.sqrt(d)) ** 2
            first = float(0.5 * ((x.T @ y) ** 2).sum(1).max() / top)

            def step(w, lam):
                v = w - (x.T @ (x @ w - y)) / np.float32(top)
                v[(v * v).sum(1) <= 2 * lam / top] = 0
                return v

            start = rng.uniform(-1e-3, 1e-3, (d, c)).astype("f4")
            bench(f"select {n} x {d}, {c} classes, a step", lambda: step(start, first / 2))
            bench(f"select {n} x {d}, {c} classes, dense step", lambda: step(start, first * 1e-12))

            def path(steps):
                w = np.zeros((d, c), "f4")
                for i in range(200):
                    for _ in range(steps):
                        w = step(w, first * 0.97**i)
                return w

            for steps in (1, 20) if n < 1000 else (1,):
                bench(f"select {n} x {d}, path of 200 x {steps}", lambda: path(steps), repeats=3)


def supports(library):
    """Supports of a given size by one of the libraries, with the loss of least squares on them."""
    import numpy as np

    def uniform(k, stream):
        z = (k.astype("u8") + np.uint64(stream << 40)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return (((z ^ (z >> np.uint64(31))) >> np.uint64(11)).astype("f8") + 0.5) / 2.0**53

    def normal(shape, stream):
        k = np.arange(math.prod(shape))
        lengths = np.sqrt(-2 * np.log(uniform(k, 2 * stream)))
        return (lengths * np.cos(2 * np.pi * uniform(k, 2 * stream + 1))).reshape(shape)

    def planted(n, d, k, c):
        x = normal((n, d), 0)
        signal = x[:, :: d // k] @ normal((k, c), 1)
        return x, signal + normal((n, c), 2) * np.sqrt(signal.var() / 5)

    def classes(n, d, k, c):
        x, y = normal((n, d), 0), np.eye(c)[np.arange(n) % c]
        x[:, :k] += 3 * y[:, 1:] - 1.5
        return x, y

    def of_abess(x, y, k):
        from abess import MultiTaskRegression
        for name, searched in (("", 128), (" searching all", 0)):
            def run(searched=searched):
                model = MultiTaskRegression(support_size=k, important_search=searched).fit(x, y)
                return model.coef_
            yield name, run

    def of_skscope(x, y, k):
        import jax, jax.numpy as jnp, skscope
        jax.config.update("jax_enable_x64", True)
        (n, d), c = x.shape, y.shape[1]
        centred = jnp.array(x - x.mean(0)), jnp.array(y - y.mean(0))
        group = [i // c for i in range(d * c)]
        loss = lambda w: 0.5 * jnp.sum((centred[1] - centred[0] @ w.reshape(d, c)) ** 2)
        for name in ("HTPSolver", "IHTSolver", "GraspSolver", "OMPSolver", "ScopeSolver"):
            solver = getattr(skscope, name)(d * c, k, n, group=group)
            yield " " + name, lambda solver=solver: solver.solve(loss, jit=True).reshape(d, c)

    for make, (n, d, k, c) in ((planted, (300, 1000, 10, 3)), (classes, (102, 6033, 20, 2))):
        x, y = make(n, d, k, c)
        for name, run in {"abess": of_abess, "skscope": of_skscope}[library](x, y, k):
            support = np.flatnonzero(np.abs(run()).sum(1))
            own, to = x[:, support] - x[:, support].mean(0), y - y.mean(0)
            left = own @ np.linalg.lstsq(own, to, rcond=None)[0] - to
            print(f"{len(support)} features, loss {0.5 * (left**2).sum():.6f}")
            bench(f"{make.__name__}, {k} features{name}", run, repeats=3)


def abess_peer(_):
    supports("abess")


def skscope_peer(_):
    supports("skscope")


globals()[f"{sys.argv[1]}_peer"](sys.argv[2:])
