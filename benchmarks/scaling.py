"""How far one machine shows that frisket scales. Wall time, so on a quiet machine only; two parts:

    python -m benchmarks.scaling workers                                  (two cores, minutes)
    python -m benchmarks.scaling slots --nodes 64 --slots 8               (memory: see what it prints)

``workers``: the same packs on Ray Train with one worker and with two, from the first pack's start to the last one's
end; Ray's own start is printed beside it. Target: 1.8 times with two cores.

``slots``: Ray Tune over a cluster of NODES x SLOTS, which are Ray's logical resources only, and trials that do what a
pack does without computing: open a journal, write 100 lines of five metrics, commit them. Sizes grow eightfold up to
NODES x SLOTS: trials per second and journalled metrics per second of each, what a worker process takes, and where
memory ends it. Then the journals of the last size are sent to MLflow: runs per second and metrics per second, into a
SQLite file.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ray.tune import Trainable

from frisket.platform.journal import Journal

if TYPE_CHECKING:
    from frisket.platform.runfolder import RunFolder

TARGET = 1.8
LINES, METRICS = 100, 5
_KEPT_FREE = 2 * 2**30
"""Memory that a size must leave free to be tried."""


class StubTrial(Trainable):
    """A pack without its computing. Imports no torch, as the numbers are to be those of Ray and of the journal."""

    def setup(self, config: dict[str, Any]) -> None:
        self.folder, self.lines = Path(config["replica"]), int(config["lines"])

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        with Journal(self.folder / "journal.jsonl", keep=0) as journal:
            for t in range(self.lines):
                journal.points(t, {f"metric{i}": t / (i + 1) for i in range(METRICS)})
            length = journal.commit()
        committed = {"journal_bytes": length, "cursor": self.lines, "seconds": 0.0}
        (self.folder / "committed.json").write_text(json.dumps(committed), encoding="utf-8")
        return {"done": True, "memory": _memory_of(os.getpid())}


def workers(steps: int) -> int:
    """Print the times of one and of two workers; 1 when the target is missed."""
    from frisket.platform.executors import ray_train
    from frisket.platform.executors.ray_session import ray_session

    took: dict[int, float] = {}
    for count in (1, 2):
        with tempfile.TemporaryDirectory() as place:
            folder = _run(Path(place), seeds=4, steps=steps)
            begin = time.monotonic()
            with ray_session(cpus=count):
                ray_train.execute(folder, workers=count, data_dir=None, stop=lambda: False)
            whole = time.monotonic() - begin
            starts = [(files.path / ".lock").stat().st_mtime for files in folder.replicas()]
            ends = [(files.path / "result.json").stat().st_mtime for files in folder.replicas()]
            took[count] = max(ends) - min(starts)
        rest = whole - took[count]
        print(f"{count} worker{'s' * (count > 1)}: 4 packs in {took[count]:.1f} s, Ray's start and end {rest:.1f} s")
    speed = took[1] / took[2]
    print(f"two workers: {speed:.2f} times as fast (target: at least {TARGET} on two quiet cores)")
    return int(speed < TARGET)


def slots(nodes: int, per_node: int) -> int:
    """Print rates at growing sizes; 1 when the largest could not be tried."""
    from frisket.platform.tracking.uploader import Uploader

    sizes = [8**n for n in range(1, 10) if 8**n < nodes * per_node] + [nodes * per_node]
    each = 0.0
    with tempfile.TemporaryDirectory() as place:
        sent_from = None
        for size in sizes:
            free = _free_memory()
            if each * size > free - _KEPT_FREE:
                most = int((free - _KEPT_FREE) / each)
                print(f"{size:>5} slots: not run. A trial is a process of {each / 2**20:.0f} MiB; {size} need", end=" ")
                print(f"{each * size / 2**30:.0f} GiB, {free / 2**30:.0f} GiB are free, which is room for {most}")
                break
            sent_from = _run(Path(place) / str(size), seeds=2 * size)
            trials, seconds, each = _tune(sent_from, size)
            metrics = trials * LINES * METRICS
            print(f"{size:>5} slots: {trials} trials in {seconds:.1f} s: {trials / seconds:.1f} trials/s,", end=" ")
            print(f"{metrics / seconds:,.0f} journalled metrics/s, {each / 2**20:.0f} MiB a worker")
        assert sent_from is not None
        begin = time.monotonic()
        status = Uploader(sent_from, live=True).push()
        seconds = time.monotonic() - begin
        runs = len(sent_from.replicas())
        print(f"upload: {runs} runs, {status.points:,} metrics in {seconds:.1f} s:", end=" ")
        print(f"{runs / seconds:.1f} runs/s, {status.points / seconds:,.0f} metrics/s {status.reason}")
    return int(len(sent_from.replicas()) < 2 * nodes * per_node or bool(status.reason))


def _tune(folder: RunFolder, size: int) -> tuple[int, float, float]:
    """Trials, the seconds they took without Ray's start, and the bytes of the largest worker."""
    from ray import tune

    from frisket.platform.executors.ray_session import ray_session

    with ray_session(cpus=size):
        tuner = tune.Tuner(
            tune.with_resources(StubTrial, {"CPU": 1}),
            param_space={"replica": tune.grid_search([str(f.path) for f in folder.replicas()]), "lines": LINES},
            tune_config=tune.TuneConfig(reuse_actors=True, max_concurrent_trials=size),
            run_config=tune.RunConfig(
                name="stub", storage_path=str(folder.path / "ray"), verbose=0,
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            ),
        )  # fmt: skip
        begin = time.monotonic()
        results = tuner.fit()
        seconds = time.monotonic() - begin
    return len(results), seconds, max(float((result.metrics or {})["memory"]) for result in results)


def _run(parent: Path, seeds: int, steps: int = 10) -> RunFolder:
    """A run folder on embedded data, nothing of it run."""
    from frisket.envs.data import resolve
    from frisket.platform.engine import datasets
    from frisket.platform.runfolder import RunFolder
    from frisket.platform.spec import from_dict

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


def _memory_of(pid: int) -> int:
    """Bytes that are the process's own."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    return sum(int(line.split()[1]) << 10 for line in text.splitlines() if line.startswith("Private_"))


def _free_memory() -> int:
    text = Path("/proc/meminfo").read_text(encoding="ascii")
    return next(int(line.split()[1]) << 10 for line in text.splitlines() if line.startswith("MemAvailable"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one part and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    work = parts.add_parser("workers")
    work.add_argument("--steps", type=int, default=600, help="length of each of the four packs")
    logical = parts.add_parser("slots")
    logical.add_argument("--nodes", type=int, default=4)
    logical.add_argument("--slots", type=int, default=2)
    given = parser.parse_args(arguments)
    return workers(given.steps) if given.part == "workers" else slots(given.nodes, given.slots)


if __name__ == "__main__":
    sys.exit(main())
