#!/usr/bin/env python3
"""The workloads of `cargo bench --bench information` with scikit-learn's and scipy's trees, f64, for a comparison in one sitting.

    python benches/peers/information.py

Needs numpy, scipy and scikit-learn. Prints the median and the smallest time of each workload in milliseconds, trees built
within, and the value that was estimated, in nats. THREADS sets the number of threads (2). Data are those of the bench.
"""
import os, statistics, sys, time

THREADS = int(os.environ.get("THREADS", "2"))
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, str(THREADS))

import numpy as np
from concurrent.futures import ThreadPoolExecutor
from scipy.spatial import cKDTree
from scipy.special import digamma, gammaln
from sklearn.neighbors import KDTree, NearestNeighbors

POOL = ThreadPoolExecutor(THREADS)


def uniform(shape, stream):
    """Number k of a stream of numbers between 0 and 1, as in the bench."""
    with np.errstate(over="ignore"):
        z = (np.arange(np.prod(shape), dtype=np.uint64) + (np.uint64(stream) << np.uint64(40))) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (((z ^ (z >> np.uint64(31))) >> np.uint64(11)).astype(np.float64) + 0.5) / 2.0**53


def normal(shape, stream):
    length = np.sqrt(-2 * np.log(uniform(shape, 2 * stream)))
    return (length * np.cos(2 * np.pi * uniform(shape, 2 * stream + 1))).reshape(shape)


def pair(n, dx, dz):
    """Points x, and z of as many of their coordinates with noise of the same variance."""
    x = normal((n, dx), 0)
    return x, x[:, :dz] + normal((n, dz), 1)


def threaded(run, *columns):
    """The rows cut in as many parts as there are threads."""
    parts = zip(*(np.array_split(c, THREADS) for c in columns))
    return np.concatenate(list(POOL.map(lambda part: run(*part), parts)))


def ksg(n, k, distances, counts):
    """Estimator 1 of Kraskov, Stoegbauer and Grassberger."""
    return digamma(k) + digamma(n) - sum(np.mean(digamma(c)) for c in counts(distances))


def ksg_sklearn(x, z, k, run=threaded):
    joint = np.hstack([x, z])
    tree = KDTree(joint, metric="chebyshev")
    eps = run(lambda q: tree.query(q, k + 1)[0][:, -1], joint)
    # A closed ball, itself included: n + 1 for those that are strictly nearer.
    inside = np.nextafter(eps, 0)
    trees = [(KDTree(v, metric="chebyshev"), v) for v in (x, z)]
    count = lambda t, v: run(lambda q, r: t.query_radius(q, r, count_only=True), v, inside)
    return digamma(k) + digamma(len(x)) - sum(np.mean(digamma(count(t, v))) for t, v in trees)


def ksg_scipy(x, z, k, workers=THREADS):
    joint = np.hstack([x, z])
    eps = cKDTree(joint).query(joint, k + 1, p=np.inf, workers=workers)[0][:, -1]
    inside = np.nextafter(eps, 0)
    count = lambda v: cKDTree(v).query_ball_point(v, inside, p=np.inf, workers=workers, return_length=True)
    return digamma(k) + digamma(len(x)) - sum(np.mean(digamma(count(v))) for v in (x, z))


def entropy(x, k, last):
    n, d = x.shape
    ball = d / 2 * np.log(np.pi) - gammaln(d / 2 + 1)
    return digamma(n) - digamma(k) + ball + d * np.mean(np.log(last))


def entropy_sklearn(x, k, algorithm):
    found = NearestNeighbors(n_neighbors=k, algorithm=algorithm, n_jobs=THREADS).fit(x)
    return entropy(x, k, found.kneighbors()[0][:, -1])


def entropy_scipy(x, k):
    return entropy(x, k, cKDTree(x).query(x, k + 1, workers=THREADS)[0][:, -1])


def bench(name, run, seconds=float(os.environ.get("SECONDS", "2")), repeats=int(os.environ.get("REPEATS", "5"))):
    value, times, start = run(), [], time.perf_counter()
    while len(times) < repeats or (time.perf_counter() - start < seconds and len(times) < 300):
        t = time.perf_counter()
        run()
        times.append((time.perf_counter() - t) * 1e3)
    print(f"{name:52} median {statistics.median(times):9.3f} ms  min {min(times):9.3f} ms  {value:.12f}", flush=True)


alone = lambda run, *columns: run(*columns)
for dx, dz in ((10, 2), (2, 2), (1, 1)):
    x, z = pair(5000, dx, dz)
    bench(f"5000x({dx},{dz})/KSG/scikit-learn, 1 thread", lambda: ksg_sklearn(x, z, 3, alone))
    bench(f"5000x({dx},{dz})/KSG/scikit-learn", lambda: ksg_sklearn(x, z, 3))
    bench(f"5000x({dx},{dz})/KSG/scipy", lambda: ksg_scipy(x, z, 3))
for d in (2, 100):
    x = normal((10_000, d), 2)
    for algorithm in ("kd_tree", "ball_tree", "brute") if d == 2 or "SLOW" in os.environ else ("brute",):
        bench(f"10000x{d}/entropy/scikit-learn, {algorithm}", lambda: entropy_sklearn(x, 3, algorithm))
    if d == 2 or "SLOW" in os.environ:
        bench(f"10000x{d}/entropy/scipy", lambda: entropy_scipy(x, 3))
