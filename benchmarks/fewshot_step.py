"""Outer steps of MAML, first and second order, beside the same written without frisket. One thread, ratios.

    bash benchmarks/others.sh                    # learn2learn and TorchOpt, where they are wanted
    python -m benchmarks.fewshot_step            (make bench)

5-way 5-shot with 15 queries a class, K = 5, four tasks in a meta-batch, Conv4 with all its weights adapting, noise for
pictures. Processor time of an outer step, each way in a process of its own (`benchmarks.in_turn`). All begin with the
same weights, and in float64 the losses of three outer steps must agree. (In float32 they part: a convolution's bias
before a batch norm has no gradient but rounding, and Adam makes a full step of it.)

The floor is the convolutions' multiplications over this core's measured matrix-product rate. A second-order step
multiplies three times as often in the inner loop: the derivative of a gradient is six products where the gradient and
its pass before are three.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, get_args

import torch

from benchmarks.clock import matrix_rate
from benchmarks.fewshot_ways import OTHER_WAYS, Task, Way, conv4, frisket, there, with_first_weights
from benchmarks.in_turn import Timed, Work, measure
from frisket.rng import torch_generator
from frisket.types import Data

WAYS, SHOTS, QUERIES, K, TASKS = 5, 5, 15, 5, 4
Order = Literal[1, 2]
SIZES = {28: 1, 84: 3}
"""Channels of the pictures by their side."""
ROUNDS = {28: 7, 84: 3}
OURS: Mapping[str, Literal["fp32", "bf16"]] = {"frisket": "fp32", "frisket bf16": "bf16"}
"""By what convolutions multiply; the second where the processor does."""
AGREE = 1e-9
"""How far the losses of two ways may be apart in float64, relative."""


@dataclass(frozen=True)
class Cell:
    """Attributes: size: side of the pictures; filters: of every convolution; tasks: in a meta-batch."""

    size: int
    filters: int
    tasks: int = TASKS

    @property
    def channels(self) -> int:
        return SIZES[self.size]

    def multiplications(self, order: Order) -> float:
        """Of the convolutions in an outer step; the first needs no gradient of its input."""
        first = self.size**2 * 9.0 * self.channels * self.filters
        later = sum((self.size // 2**i) ** 2 * 9.0 * self.filters**2 for i in range(1, 4))
        once, twice = 2 * first + 3 * later, 4 * first + 9 * later
        return self.tasks * WAYS * (SHOTS * K * (once if order == 1 else twice) + QUERIES * once)


def tasks(cell: Cell, shots: int = SHOTS) -> list[Task]:
    """A meta-batch of noise."""
    generator = torch_generator(0, "tasks")

    def side(each: int) -> Data:
        x = torch.randn(WAYS * each, cell.channels, cell.size, cell.size, generator=generator)
        return Data(x, torch.arange(WAYS).repeat_interleave(each))

    return [(side(shots), side(QUERIES)) for _ in range(cell.tasks)]


def _way(name: str, cell: Cell, order: Order) -> Way:
    sizes = (cell.filters, cell.channels, cell.size)
    if name in OURS:
        return frisket(*sizes, order, K, OURS[name])
    return OTHER_WAYS[name](with_first_weights(conv4(*sizes), *sizes), order, K)


def steps(name: str, cell: Cell, orders: Sequence[Order]) -> Mapping[Order, Work]:
    """Outer steps of a way, by their order."""
    batch = tasks(cell)
    works: dict[Order, Work] = {order: partial(_way(name, cell, order), batch) for order in orders}
    return works


Seconds = Mapping[tuple[str, Order], float]
"""Of an outer step, by way and order."""


def apart(size: int, names: Sequence[str], orders: Sequence[Order]) -> float:
    """How far the losses of three outer steps of two tasks are apart at most, relative, in float64 with 8 filters."""
    cell = Cell(size, 8, 2)
    batch = [(Data(a.x.double(), a.y), Data(b.x.double(), b.y)) for a, b in tasks(cell)]
    torch.set_default_dtype(torch.float64)
    try:
        found = [[_way(name, cell, order) for name in names] for order in orders]
        losses = [[way(batch) for way in ways] for ways in found for _ in range(3)]
    finally:
        torch.set_default_dtype(torch.float32)
    return max((max(one) - min(one)) / min(one) for one in losses)


def rows(cell: Cell, found: Seconds, rate: float) -> Iterator[str]:
    """Lines of the table."""
    for (name, order), took in found.items():
        floor = 2 * cell.multiplications(order) / rate
        slower, twice = took / found["frisket", order], took / found.get((name, 1), took)
        yield (
            f"| {cell.size} | {cell.filters} | {order} | {name} | {1e3 * took:.0f} | {1 / took:.2f} | {slower:.2f} "
            f"| {twice:.2f} | {took / floor:.2f} |"
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; 1 when the ways disagree."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, nargs="+", default=list(SIZES), choices=list(SIZES))
    parser.add_argument("--filters", type=int, nargs="+", default=[64, 32, 16])
    parser.add_argument("--order", type=int, nargs="+", default=list(get_args(Order)), choices=get_args(Order))
    parser.add_argument("--rounds", type=int, help="how often every cell is measured")
    parser.add_argument("--tasks", type=int, default=TASKS, help="in a meta-batch; each takes its share of the time")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    rate = matrix_rate()
    exact = ["frisket", *(name for name in OTHER_WAYS if there(name))]
    names = [*exact, "frisket bf16"] if torch.ops.mkldnn._is_mkldnn_bf16_supported() else exact
    print(f"one thread, torch {torch.__version__}; plain matrix product: {rate / 1e9:.0f} GFLOP/s; ways: {names}")
    print("| side | filters | order | way | ms | steps/s | times frisket | over its first order | over floor |")
    print("|---|---|---|---|---|---|---|---|---|")
    for size, filters in itertools.product(given.size, given.filters):
        cell = Cell(size, filters, given.tasks)
        processes = {name: Timed(steps, name, cell, given.order, kept=name in OURS) for name in names}
        found = measure(processes, given.order, given.rounds or ROUNDS[size])
        print("\n".join(rows(cell, found, rate)), flush=True)
    furthest = max(apart(size, exact, given.order) for size in given.size)
    print(f"losses apart in float64: {furthest:.1e} (allowed {AGREE:.0e})")
    return int(furthest > AGREE)


if __name__ == "__main__":
    sys.exit(main())
