"""What the measurements of whole runs share: a run folder, and what processes take, read from /proc (Linux).

Importing it imports no torch: stubbed workers do, and their memory is measured."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from frisket.platform.run.folder import RunFolder

Result = TypeVar("Result")
Arguments = ParamSpec("Arguments")
_TICK = os.sysconf("SC_CLK_TCK")


def new_run(parent: Path, seeds: int, steps: int = 10) -> RunFolder:
    """A run folder on embedded data, nothing of it run; MLflow's store of it lies in ``parent``."""
    from frisket.envs.data import resolve
    from frisket.platform.run.folder import RunFolder
    from frisket.platform.specs.build import datasets
    from frisket.platform.specs.experiment import from_dict

    experiment = from_dict({
        "name": "benchmark",
        "stream": {"kind": "osaka", "p": 0.9, "domains": {"digits": 1.0}, "ways": 5, "shots": 5, "steps": steps},
        "network": {"kind": "conv4", "channels": 16},
        "learner": {"kind": "sparse-cmaml", "inner_steps": 4},
        "seeds": seeds,
    })  # fmt: skip
    data = {name: images.provenance.as_dict() for name, images in resolve(datasets(experiment), "embedded").items()}
    tracking = {"uri": f"sqlite:///{parent}/mlflow.db", "experiment": "frisket/benchmark"}
    parent.mkdir(exist_ok=True)
    return RunFolder.create(parent, experiment, data_mode="embedded", data=data, register=False, tracking=tracking)


def family(pid: int) -> dict[int, tuple[str, float]]:
    """``pid`` and all living processes that it has started, directly or not: command line, processor seconds (user and
    system)."""
    rows: dict[int, tuple[int, str, float]] = {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            fields = (place / "stat").read_text().rpartition(")")[2].split()
            command = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # it has just ended
            continue
        rows[int(place.name)] = (int(fields[1]), command, (int(fields[11]) + int(fields[12])) / _TICK)
    found = {pid}
    while more := {child for child, (parent, *_) in rows.items() if parent in found} - found:
        found |= more
    return {member: rows[member][1:] for member in found if member in rows}


def machine_seconds() -> float:
    """Processor seconds that the whole machine has worked since it was started."""
    user, nice, system, _, _, irq, softirq, *_ = map(int, Path("/proc/stat").read_text().splitlines()[0].split()[1:])
    return (user + nice + system + irq + softirq) / _TICK


def lock_holders(files: Iterable[Path]) -> set[int]:
    """The processes that hold a lock on one of ``files``; those that are not there have none."""
    wanted = {file.stat().st_ino for file in files if file.exists()}
    locks = (line.split() for line in Path("/proc/locks").read_text(encoding="ascii").splitlines())
    return {int(pid) for _, kind, _, _, pid, file, *_ in locks if kind == "FLOCK" and int(file.split(":")[2]) in wanted}


def private_memory(pid: int) -> int:
    """Bytes that are the process's own; 0 if it has just ended."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    except OSError:
        return 0
    return sum(int(line.split()[1]) << 10 for line in text.splitlines() if line.startswith("Private_"))


def free_memory() -> int:
    """Bytes that new processes can have."""
    text = Path("/proc/meminfo").read_text(encoding="ascii")
    return next(int(line.split()[1]) << 10 for line in text.splitlines() if line.startswith("MemAvailable"))


def in_own_process(work: Callable[Arguments, Result], *given: Arguments.args, **named: Arguments.kwargs) -> Result:
    """What ``work`` returns in a fresh process, so that nothing of an earlier measurement is left in it."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *given, **named).result()


def table(header: str, rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table; ``header``: titles with ``|`` between them."""
    titles = [title.strip() for title in header.split("|")]
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
