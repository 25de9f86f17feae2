"""Ways of doing the same, each in a process of its own, so that each has the memory it would have alone; the processes
take turns, so a busy machine slows all of them alike."""

from __future__ import annotations

import itertools
import multiprocessing
import statistics
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any, Generic, TypeVar

import torch

from frisket.heap import keep_freed_memory

K = TypeVar("K", bound=Hashable)
Work = Callable[[], object]


def _process(make: Callable[..., Mapping[Any, Work]], arguments: tuple[Any, ...], kept: bool, line: Connection) -> None:
    """Do the work asked for, as often as asked, and tell its processor seconds."""
    torch.set_num_threads(1)
    if kept:
        keep_freed_memory()  # as the engine does
    works = make(*arguments)
    while (key := line.recv()) is not None:
        start = time.thread_time()
        works[key]()
        line.send(time.thread_time() - start)


class Timed(Generic[K]):
    """A way in a process of its own.

    Args:
        make: gives the works it can do by what they are asked for by; a function of a module.
        arguments: for it.
        kept: whether freed memory is kept, as the engine keeps it.
    """

    def __init__(self, make: Callable[..., Mapping[K, Work]], *arguments: Any, kept: bool = True) -> None:
        context = multiprocessing.get_context("spawn")
        self.line, theirs = context.Pipe()
        self.process = context.Process(target=_process, args=(make, arguments, kept, theirs), daemon=True)
        self.process.start()
        theirs.close()

    def step(self, key: K) -> float:
        """Seconds of the work ``key``."""
        self.line.send(key)
        return self.line.recv()

    def end(self) -> None:
        self.line.send(None)
        self.process.join()


def measure(processes: Mapping[str, Timed[K]], keys: Sequence[K], rounds: int) -> dict[tuple[str, K], float]:
    """Medians, by way and key, of ``rounds`` in which every way does each of ``keys`` once, after one that does not
    count; then all end."""
    times: dict[tuple[str, K], list[float]] = {pair: [] for pair in itertools.product(processes, keys)}
    for i, key in itertools.product(range(rounds + 1), keys):
        for name, process in processes.items():
            took = process.step(key)
            if i:
                times[name, key].append(took)
    for process in processes.values():
        process.end()
    return {pair: statistics.median(values) for pair, values in times.items()}
