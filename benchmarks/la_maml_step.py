"""One La-MAML meta-update on MNIST's shapes, outer step included. One thread, ratios.

    python -m benchmarks.la_maml_step          (make bench)

K = 10 inner steps of one sample, a meta-batch of 20, the 784-100-100-10 network. Timings of processor time, interleaved
so that a busy machine slows all of them alike:

* oracle    `torch.autograd.grad` through the unrolled inner loop, inner gradients detached: the plain way to write it;
* general   `frisket.algos.learners.look_ahead.gradient`, closed form for any network, eager;
* plain     `frisket.algos.learners.look_ahead.mlp`, what the learners use with this network, eager;
* compiled  the same as three compiled programs (`compile: true`);
* pack of P the same for P replicas at once, per replica.

The floor is the multiplications of all layers, forward and backward, over this core's measured matrix-product rate. The
first-layer form multiplies less than that; `rate` counts the floor's operations.
"""

from __future__ import annotations

import itertools
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from benchmarks.clock import matrix_rate, seconds
from frisket.algos.learners.look_ahead.gradient import LookAhead, look_ahead
from frisket.algos.learners.look_ahead.la_maml import LaMAML, LaMAMLConfig
from frisket.algos.learners.look_ahead.pack import TOGETHER, LookAheadPack
from frisket.algos.networks.mlp import MLP, MLPConfig
from frisket.algos.pack import in_parts
from frisket.algos.parts.tree import lifted, picked, stacked
from frisket.heap import keep_freed_memory
from frisket.rng import torch_generator
from frisket.types import Batch, Data, Metrics, Params, State

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "algos"))
from oracle import eager_look_ahead  # pyright: ignore[reportMissingImports]

K, NEW, OLD = 10, 10, 10
ROUNDS, REPEATS = 15, 5
PACKS = (5, 20)
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


class Bench:
    """Weights, rates and a meta-batch, and the meta-update by every way there is."""

    def __init__(self) -> None:
        self.network = MLP(MLPConfig(), in_channels=1, size=28, ways=10)
        self.theta = self.network.init(torch_generator(0, "theta"))
        self.m = {k: torch.full_like(v, 0.05) for k, v in self.theta.items()}
        new, old = samples(NEW, "new"), samples(OLD, "old")
        self.chunks = [Data(x, y) for x, y in zip(new.x.split(1), new.y.split(1), strict=True)]
        self.meta = Data(torch.cat([old.x, new.x]), torch.cat([old.y, new.y]))

    def pack(self, size: int, *, compile: bool) -> Callable[[], tuple[Params, Params]]:
        """The meta-update of ``size`` equal replicas; gives back the first one's theta and m. A pack larger than one
        call goes on from where it has come to."""
        learners = [LaMAML(LaMAMLConfig(compile=compile), self.network) for _ in range(size)]
        pack = LookAheadPack(learners)
        theta, m = (stacked([one] * size) for one in (self.theta, self.m))
        batches = [Batch(self.meta.x, self.meta.y, 0)] * size

        def learn(state: State, some: Sequence[Batch], part: slice) -> tuple[State, list[Metrics]]:
            meta = Data(torch.stack([one.x for one in some]), torch.stack([one.y for one in some]))
            theta, m, _, _ = pack.meta_update(state["theta"], state["m"], meta, NEW, part)
            return {"theta": theta, "m": m}, []

        def run() -> tuple[Params, Params]:
            after, _ = in_parts({"theta": theta, "m": m}, batches, learn, TOGETHER)
            return picked(after["theta"], 0), picked(after["m"], 0)

        return run

    def by(self, gradient: Callable[[Params], LookAhead]) -> Callable[[], tuple[Params, Params]]:
        """The meta-update from a look-ahead gradient taken at the rates."""
        pack, hyper = LookAheadPack([LaMAML(LaMAMLConfig(compile=False), self.network)]), torch.tensor([0.3])

        def run() -> tuple[Params, Params]:
            ahead = gradient({k: v.relu() for k, v in self.m.items()})
            ahead = ahead._replace(theta=lifted(ahead.theta), rates=lifted(ahead.rates))
            after = pack.outer_step(lifted(self.theta), lifted(self.m), ahead, {"alpha_lr": hyper})
            return picked(after[0], 0), picked(after[1], 0)

        return run


def largest_difference(a: tuple[Params, Params], b: tuple[Params, Params]) -> float:
    """Over weights and rates."""
    return max(float((x[k] - y[k]).abs().max()) for x, y in zip(a, b, strict=True) for k in x)


def first_call(run: Callable[[], object]) -> float:
    """Its seconds."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


@torch.no_grad()
def main() -> int:
    """Print the table; 1 when they disagree."""
    torch.set_num_threads(1)
    keep_freed_memory()  # as the engine does
    bench = Bench()
    network, theta, chunks, meta = bench.network, bench.theta, bench.chunks, bench.meta

    def oracle(rates: Params) -> LookAhead:
        with torch.enable_grad():
            return eager_look_ahead(network, theta, rates, chunks, meta)

    with tempfile.TemporaryDirectory() as folder:
        os.environ["FRISKET_CACHE"] = os.environ["TORCHINDUCTOR_CACHE_DIR"] = folder
        cold = first_call(bench.pack(1, compile=True))
        warm = first_call(bench.pack(1, compile=True))
        works: dict[str, tuple[int, Callable[[], tuple[Params, Params]]]] = {
            "oracle": (1, bench.by(oracle)),
            "general": (1, bench.by(lambda rates: look_ahead(network, None, theta, rates, chunks, meta, "mean"))),
            "plain": (1, bench.pack(1, compile=False)),
            "compiled": (1, bench.pack(1, compile=True)),
            **{f"pack of {size}": (size, bench.pack(size, compile=True)) for size in PACKS},
        }
        results = {name: work() for name, (_, work) in works.items()}
    worst = max(largest_difference(results["oracle"], results[name]) for name in results if name != "oracle")

    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(ROUNDS):
        for name, (size, work) in works.items():
            times[name].append(seconds(work, max(1, REPEATS // size)) / size)
    rate, count = matrix_rate(), flops(network.widths)
    print(f"one thread, torch {torch.__version__}; plain matrix product: {rate / 1e9:.0f} GFLOP/s")
    print(f"first call of the compiled programs: {cold:.1f} s made anew, {warm:.1f} s found on disk")
    print(f"{'a replica':>11} {'ms':>8} {'times faster':>13} {'GFLOP/s':>8} {'over floor':>11}")
    base = statistics.median(times["oracle"])
    for name, values in times.items():
        t = statistics.median(values)
        print(f"{name:>11} {1e3 * t:>8.2f} {base / t:>13.2f} {count / t / 1e9:>8.0f} {t * rate / count:>11.2f}")
    print(f"largest difference from the oracle: {worst:.1e} (allowed {TOLERANCE:.0e})")
    return int(worst > TOLERANCE)


if __name__ == "__main__":
    sys.exit(main())
