"""How far one machine shows that frisket scales. Linux. Two parts:

    python -m benchmarks.scaling workers                                  (two cores, 22 minutes; nothing else running)
    python -m benchmarks.scaling slots --nodes 64 --slots 8 --together 8  (two cores, 16 GiB)

``workers``: the same four packs, one after the other and two at a time: in plain processes without Ray, which is what
the machine itself allows, and on Ray Train; three rounds in turn, because a shared machine is now faster, now slower. A
pack's time runs from when its worker takes hold of it to its result. The table has the time from the first pack's start
to the last one's end, which is what counts (target: 1.8 times with two workers), mean and ends of the range, and means
of the processor time of the packs and of everything else that belongs to the run (driver, Ray's own processes) in that
time, of what other people's processes took meanwhile, and of the time of the whole command, Ray's start included.
"Times as fast" is the quotient of the means; in brackets the smallest and largest quotient of a round.

``slots`` is in `benchmarks.logical_slots`.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import mean
from typing import NamedTuple

from benchmarks.cluster import family, in_own_process, lock_holders, machine_seconds, new_run, table
from frisket.platform.run.folder import RunFolder

TARGET = 1.8
PACKS = 4
_LOOK_SECONDS = 2.0
_HEADER = "4 packs | seconds | times as fast | processor s of the packs | of driver and Ray | of others | whole command"


class Meter:
    """Processor time from the first pack's start on. To be asked like a `Stop`, often; it never says stop, and looks
    only every two seconds, because a look costs some milliseconds itself.

    Attributes: packs, rest, others: processor seconds of the processes that hold packs, of this process and the others
        it has started, of the rest of the machine, up to the last look at which a pack was held.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._locks = [files.path / ".lock" for files in folder.replicas()]
        self._at_work: set[int] = set()
        self._before: dict[int, float] = {}
        self._machine, self._next = 0.0, 0.0
        self._latest: dict[int, float] = {}
        self.packs = self.rest = self.others = 0.0

    def __call__(self) -> bool:
        if time.monotonic() < self._next:
            return False
        seconds, machine = {pid: used for pid, (_, used) in family(os.getpid()).items()}, machine_seconds()
        holding = lock_holders(self._locks) & set(seconds)
        if holding and not self._at_work:
            self._before, self._machine = seconds, machine
        if holding:
            self._next = time.monotonic() + _LOOK_SECONDS
            self._at_work |= holding
            self._latest |= seconds  # those that have ended stay in it
            used = {pid: now - self._before.get(pid, 0.0) for pid, now in self._latest.items()}
            self.packs = sum(used[pid] for pid in self._at_work)
            self.rest = sum(used.values()) - self.packs
            self.others = machine - self._machine - self.packs - self.rest
        return False


class Measured(NamedTuple):
    """Attributes: seconds: first start to last end; meter: processor time; whole: of the whole command."""

    seconds: float
    meter: Meter
    whole: float


def plain(folder: RunFolder, count: int, meter: Meter) -> None:
    """The packs of ``folder`` in ``count`` processes of their own, without Ray."""
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_work, args=(str(folder.path), rank, count)) for rank in range(count)]
    for process in processes:
        process.start()
    while any(process.is_alive() for process in processes):
        meter()
        time.sleep(0.25)


def _work(path: str, rank: int, count: int) -> None:
    from frisket.platform.run.engine import run_pack
    from frisket.platform.specs.experiment import share

    folder = RunFolder.open(Path(path))
    for pack in share(folder.packs, rank, count):
        run_pack(folder, pack, data_dir=None)


def on_ray(folder: RunFolder, count: int, meter: Meter) -> None:
    """The packs of ``folder`` on Ray Train with ``count`` workers."""
    from frisket.platform import executors

    executors.execute(folder, local=False, workers=count, data_dir=None, stop=meter)


def measure(execute: Callable[[RunFolder, int, Meter], None], count: int, steps: int) -> Measured:
    """One run of four packs."""
    with tempfile.TemporaryDirectory() as place:
        folder = new_run(Path(place), seeds=PACKS, steps=steps)
        meter, begin = Meter(folder), time.monotonic()
        execute(folder, count, meter)
        whole = time.monotonic() - begin
        assert folder.done, "a pack was not finished"
        starts = [(files.path / ".lock").stat().st_mtime for files in folder.replicas()]
        ends = [(files.path / "result.json").stat().st_mtime for files in folder.replicas()]
        return Measured(max(ends) - min(starts), meter, whole)


def workers(steps: int, rounds: int) -> int:
    """Print the table; 1 when the target is missed."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # as Ray's workers have it
    kinds = (("plain process", "plain processes", plain), ("Ray Train worker", "Ray Train workers", on_ray))
    found: dict[str, list[Measured]] = {}
    for _ in range(rounds):
        for one, two, execute in kinds:
            for name, count in ((one, 1), (two, 2)):
                found.setdefault(name, []).append(in_own_process(measure, execute, count, steps))
    rows, speed = [], 0.0
    for one, two, _ in kinds:
        for count, name in enumerate((one, two), start=1):
            speed = mean(run.seconds for run in found[one]) / mean(run.seconds for run in found[name])
            singly = [a.seconds / b.seconds for a, b in zip(found[one], found[name], strict=True)]
            rows.append([f"{count} {name}", *_row(found[name], speed, singly)])
    print(table(_HEADER, rows))
    print(f"\n{rounds} rounds; two Ray Train workers: {speed:.2f} times as fast as one (target: at least {TARGET})")
    return int(speed < TARGET)


def _row(runs: Sequence[Measured], speed: float, singly: Sequence[float]) -> Iterator[str]:
    seconds = [run.seconds for run in runs]
    yield f"{mean(seconds):.1f} ({min(seconds):.1f} to {max(seconds):.1f})"
    yield f"{speed:.2f} ({min(singly):.2f} to {max(singly):.2f})"
    for part in (
        [run.meter.packs for run in runs],
        [run.meter.rest for run in runs],
        [run.meter.others for run in runs],
        [run.whole for run in runs],
    ):
        yield f"{mean(part):.1f}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one part and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    work = parts.add_parser("workers")
    work.add_argument("--steps", type=int, default=1000, help="length of each of the four packs")
    work.add_argument("--rounds", type=int, default=3, help="how often everything is measured")
    logical = parts.add_parser("slots")
    logical.add_argument("--nodes", type=int, default=4)
    logical.add_argument("--slots", type=int, default=8, help="of a node")
    logical.add_argument("--together", type=int, default=1, help="slots that share a process")
    given = parser.parse_args(arguments)
    if given.part == "workers":
        return workers(given.steps, given.rounds)
    from benchmarks.logical_slots import slots

    return slots(given.nodes, given.slots, given.together)


if __name__ == "__main__":
    sys.exit(main())
