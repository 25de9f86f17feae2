"""One La-MAML meta-update on MNIST's shapes. One thread, ratios.

    python -m benchmarks.la_maml_step          (make bench)

K = 10 inner steps of one sample, a meta-batch of 20, the 784-100-100-10 network. Four timings of
processor time, interleaved so that a busy machine slows all of them alike:

* oracle    `torch.autograd.grad` through the unrolled inner loop, inner gradients detached: the plain way to write it;
* general   `frisket.algos.look_ahead`, closed form for any network, eager;
* plain     `frisket.algos.look_ahead_mlp`, what the learners use with this network, eager;
* compiled  the same with its inner step compiled (`compile: true`).

The floor is the multiplications of all layers, forward and backward, over this core's measured matrix-product rate.
"""

from __future__ import annotations

import itertools
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.clock import matrix_rate, seconds
from frisket.algos.inner import Data
from frisket.algos.look_ahead import LookAhead, build_inner_step, look_ahead
from frisket.algos.look_ahead_learner import build_look_ahead
from frisket.algos.networks.mlp import MLP, MLPConfig
from frisket.platform.heap import keep_freed_memory
from frisket.rng import torch_generator

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "algos"))
from oracle import eager_look_ahead  # pyright: ignore[reportMissingImports]

K, NEW, OLD = 10, 10, 10
ROUNDS, REPEATS = 15, 5
TOLERANCE = 1e-5
PIXELS_INKED = 0.19  # share of MNIST's pixels that are not blank


def samples(count: int, key: str) -> Data:
    """Noise with as much ink as digits have."""
    generator = torch_generator(0, "samples", key)
    ink = torch.rand(count, 1, 28, 28, generator=generator) < PIXELS_INKED
    x = torch.rand(count, 1, 28, 28, generator=generator) * ink
    return Data(x, torch.randint(10, (count,), generator=generator))


def flops(widths: tuple[int, ...]) -> float:
    """Of one meta-update: K times forward and backward of 1 + 20 samples; no gradient of the input is needed."""
    layers = [a * b for a, b in itertools.pairwise(widths)]
    per_sample = 2.0 * (3 * sum(layers) - layers[0])
    return K * per_sample * (1 + NEW + OLD)


def largest_difference(a: LookAhead, b: LookAhead) -> float:
    """Over both gradients."""
    pairs = [(x[k], y[k]) for x, y in ((a.theta, b.theta), (a.rates, b.rates)) for k in x]
    return max(float((u - v).abs().max()) for u, v in pairs)


def main() -> int:
    """Print the table; 1 when they disagree."""
    torch.set_num_threads(1)
    keep_freed_memory()  # as the engine does
    network = MLP(MLPConfig(), in_channels=1, size=28, ways=10)
    theta = network.init(torch_generator(0, "theta"))
    rates = {k: torch.full_like(v, 0.05) for k, v in theta.items()}
    new, old = samples(NEW, "new"), samples(OLD, "old")
    chunks = [Data(x, y) for x, y in zip(new.x.split(1), new.y.split(1), strict=True)]
    meta = Data(torch.cat([old.x, new.x]), torch.cat([old.y, new.y]))

    general = build_inner_step(network, None, compiled=False)
    plain, compiled = (build_look_ahead(network, None, compiled=c) for c in (False, True))
    works: dict[str, Callable[[], LookAhead]] = {
        "oracle": lambda: eager_look_ahead(network, theta, rates, chunks, meta),
        "general": lambda: look_ahead(general, theta, rates, chunks, meta, "mean"),
        "plain": lambda: plain(theta, rates, chunks, meta, "mean"),
        "compiled": lambda: compiled(theta, rates, chunks, meta, "mean"),
    }
    start = time.perf_counter()
    results = {name: work() for name, work in works.items()}
    print(f"first calls, compilation included: {time.perf_counter() - start:.1f} s")
    worst = max(largest_difference(results["oracle"], results[name]) for name in results if name != "oracle")

    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(ROUNDS):
        for name, work in works.items():
            times[name].append(seconds(work, REPEATS))
    rate, count = matrix_rate(), flops(network.widths)
    print(f"one thread, torch {torch.__version__}; plain matrix product: {rate / 1e9:.0f} GFLOP/s")
    print(f"{'timing':>10} {'ms':>8} {'times faster':>13} {'GFLOP/s':>8} {'over floor':>11}")
    oracle = statistics.median(times["oracle"])
    for name, values in times.items():
        t = statistics.median(values)
        print(f"{name:>10} {1e3 * t:>8.2f} {oracle / t:>13.2f} {count / t / 1e9:>8.0f} {t * rate / count:>11.2f}")
    print(f"largest difference from the oracle: {worst:.1e} (allowed {TOLERANCE:.0e})")
    return int(worst > TOLERANCE)


if __name__ == "__main__":
    sys.exit(main())
