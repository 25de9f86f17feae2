"""Outer steps of BMP, MMSUP and Multi-MAML beside MAML's. One thread, ratios.

    python -m benchmarks.gems_step            (make bench)

5-way 1-shot with 15 queries a class, M = 5, second order, Conv4 with all its weights adapting, noise for pictures: what
`gems/cub-flowers102-...` computes. Processor time of an outer step, each method in a process of its own
(`benchmarks.in_turn`).

* BMP and MMSUP over MAML, on meta-batches of four tasks: targets 1.3 and 1.4 (gems spec, fact 12, allows 1.4 and 1.5).
* The adapter: its weights over the network's, and the time of its answers over that of a task's first-order inner
  steps: targets below 5 and 10 % (fact 8). BMP asks it at each of them, MMSUP once.
* Multi-MAML over BMP on N domains, each member with as many tasks as BMP has in all: target at least 0.9 N (fact 13).

The paper's cell is 64 filters on pictures of 84; what is missed in any cell is named.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch

from benchmarks.clock import matrix_rate, seconds
from benchmarks.fewshot_step import SIZES, WAYS, Cell, tasks
from benchmarks.fewshot_ways import ALPHA, episode
from benchmarks.in_turn import Timed, Work, measure
from frisket.algos.inner.adapter import SQUARES, TIMES
from frisket.algos.inner.loop import Asking, Support, adapt_along
from frisket.algos.inner.modulation import FixedStep, Seen
from frisket.algos.learner import Episodic
from frisket.algos.learners.fewshot.bmp import BMPConfig
from frisket.algos.learners.fewshot.learner import EpisodicConfig, EpisodicLearner
from frisket.algos.learners.fewshot.maml import MAMLConfig
from frisket.algos.learners.fewshot.mmsup import MMSUPConfig
from frisket.algos.learners.fewshot.multi_maml import MultiMAML, MultiMAMLConfig
from frisket.algos.networks.conv4 import Conv4, Conv4Config
from frisket.algos.networks.network import split
from frisket.heap import keep_freed_memory
from frisket.types import Batch, State, Task

SHOTS, M = 1, 5
ROUNDS = {28: 7, 84: 1}
METHODS: dict[str, type[EpisodicConfig]] = {"maml": MAMLConfig, "bmp": BMPConfig, "mmsup": MMSUPConfig}
TARGETS = {"bmp": 1.3, "mmsup": 1.4}
"""Of a method's time over MAML's, at most."""
WEIGHTS, INNER, MEMBERS = 0.05, 0.10, 0.9
DOMAINS = {2: 4, 3: 6, 4: 4}
"""Number of data sets to the tasks of a meta-batch, in equal parts."""
OUTER = "outer step"


def network(cell: Cell) -> Conv4:
    """The network of every method."""
    config = Conv4Config(channels=cell.filters, adapt_norm=True)
    return Conv4(config, in_channels=cell.channels, size=cell.size, ways=WAYS)


def episodes(cell: Cell, domains: int) -> list[Batch]:
    """A meta-batch of noise, its tasks of ``domains`` domains in turn."""
    classes = tuple(range(WAYS))
    return [episode(*sides, Task(str(i % domains), classes, i)) for i, sides in enumerate(tasks(cell, SHOTS))]


def steps(method: str, cell: Cell, domains: int) -> Mapping[str, Work]:
    """The outer step of a method."""
    fields = {"inner_steps": M, "alpha": ALPHA, "meta_batch": cell.tasks}
    learner: Episodic
    if method == "multi-maml":
        learner = MultiMAML(MultiMAMLConfig(**fields), network(cell)).over([str(i) for i in range(domains)])
    else:
        learner = EpisodicLearner(METHODS[method](**fields), network(cell))
    return {OUTER: partial(_step, learner, [learner.init(0)], episodes(cell, domains))}


def _step(learner: Episodic, states: list[State], batch: Sequence[Batch]) -> None:
    """An outer step from the one of ``states``, which it takes the place of."""
    (state,) = states
    states[0], _ = learner.apply(state, learner.gradients(state, batch))


def compared(cells: Mapping[str, tuple[Cell, int]], rounds: int) -> dict[str, float]:
    """Seconds of an outer step of methods, each on its cell with so many domains."""
    processes = {method: Timed(steps, method, *cell) for method, cell in cells.items()}
    return {method: took for (method, _), took in measure(processes, [OUTER], rounds).items()}


def of_the_adapter(method: str, cell: Cell, rounds: int) -> tuple[float, float]:
    """The adapter's weights over the network's, and its time over that of the inner steps without it."""
    learner = EpisodicLearner(METHODS[method](inner_steps=M), network(cell))
    state, modulation = learner.init(0), learner.modulation
    own = sum(v.numel() for k, v in state["m"].items() if k not in (SQUARES, TIMES))
    (support, _) = episodes(cell, 1)[0].sides()
    start, rest = split(learner.network, state["theta"])
    passes = Support(learner.network, rest, support, 10**9, features=modulation.features)
    plain = Asking(FixedStep(ALPHA), {})
    seen = Seen(start, 0, adapt_along(passes, start, plain, range(1)).last, passes.features)

    @torch.no_grad()
    def answer() -> object:
        return modulation.rates(state["m"], modulation.looked(seen))

    works: dict[str, Callable[[], object]] = {
        "answer": answer,
        "step": lambda: adapt_along(passes, start, plain, range(1)),
    }
    times = {name: list[float]() for name in works}
    for _, (name, work) in itertools.product(range(rounds + 1), works.items()):
        times[name].append(seconds(work, 3))
    once, step = (statistics.median(taken[1:]) for taken in times.values())
    answers = M if modulation.by_step else 1
    return own / sum(v.numel() for v in state["theta"].values()), answers * once / (M * step)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables; 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, nargs="+", default=list(SIZES), choices=list(SIZES))
    parser.add_argument("--filters", type=int, nargs="+", default=[64, 32])
    parser.add_argument("--rounds", type=int, help="how often every cell is measured")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    keep_freed_memory()  # as the engine does
    missed: list[str] = []
    print(f"one thread, torch {torch.__version__}; plain matrix product: {matrix_rate() / 1e9:.0f} GFLOP/s")
    print("| side | filters | method | ms | over MAML | weights of the adapter | its time over inner steps |")
    print("|---|---|---|---|---|---|---|")
    for size, filters in itertools.product(given.size, given.filters):
        cell, rounds = Cell(size, filters, 4), given.rounds or ROUNDS[size]
        found = compared(dict.fromkeys(METHODS, (cell, 2)), rounds)
        for method, took in found.items():
            ratio, told = took / found["maml"], "| - | - |"
            if method in TARGETS:
                weights, inner = of_the_adapter(method, cell, rounds)
                told = f"| {100 * weights:.1f} % | {100 * inner:.1f} % |"
                if ratio > TARGETS[method] or weights >= WEIGHTS or inner >= INNER:
                    missed.append(f"{method} at {size} with {filters} filters")
            print(f"| {size} | {filters} | {method} | {1e3 * took:.0f} | {ratio:.2f} {told}", flush=True)
    print("\n| side | domains | tasks of BMP | of Multi-MAML | BMP, ms | Multi-MAML, ms | over BMP | over BMP and N |")
    print("|---|---|---|---|---|---|---|---|")
    filters = max(given.filters)
    for size, (domains, count) in itertools.product(given.size, DOMAINS.items()):
        cells = {"bmp": (Cell(size, filters, count), domains),
                 "multi-maml": (Cell(size, filters, domains * count), domains)}  # fmt: skip
        one, many = compared(cells, given.rounds or ROUNDS[size]).values()
        ratio = many / one
        if ratio < MEMBERS * domains:
            missed.append(f"Multi-MAML of {domains} domains at {size}")
        told = f"| {1e3 * one:.0f} | {1e3 * many:.0f} | {ratio:.2f} | {ratio / domains:.2f} |"
        print(f"| {size} | {domains} | {count} | {domains * count} {told}", flush=True)
    print(f"targets: BMP {TARGETS['bmp']}, MMSUP {TARGETS['mmsup']} times MAML; Multi-MAML {MEMBERS} N times BMP")
    print(f"missed: {', '.join(missed) or 'none'}")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
