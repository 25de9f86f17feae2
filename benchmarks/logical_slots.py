"""Ray Tune over simulated nodes: the second part of `benchmarks.scaling`.

The cluster is one of Ray's logical resources: NODES x SLOTS CPUs that this machine does not have, and trials that do
what a pack does without computing: open a journal, write 100 lines of five metrics, commit them. Two packs per slot.
Sizes grow fourfold in nodes up to NODES. A slot of frisket is a process, and 512 processes need more memory than a
small machine has, so ``--together K`` lets K slots share one: a trial then takes K CPUs and leads K packs in K threads.
The journal, Tune and the store see as many slots either way; Ray has a K-th of the actors.

Of each size: packs per second from Tune's start to its end, the start of the processes included; of the second half
alone, when all are there; journalled metrics per second; what a process takes; what Ray's head takes. A size that
needs more memory than is free is not run, and that is said. Last, the journals of the largest size whose sending is
not too long are sent to MLflow, into a SQLite file.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ray.tune import Trainable

from benchmarks.cluster import family, free_memory, in_own_process, new_run, private_memory, table
from frisket.files import write_sealed
from frisket.platform.run.journal import Journal

if TYPE_CHECKING:
    from frisket.platform.run.folder import RunFolder

LINES, METRICS = 100, 5
_KEPT_FREE = 2 * 2**30
"""Memory that a size must leave free to be tried."""
_MOST_SENT = 128
"""Packs whose journals are sent: enough for a rate."""
_STARTS = {
    # By default a node starts as many workers at once as it has CPUs, and gives each a minute to report. The CPUs here
    # are not real: hundreds of Python processes starting at once on two cores would all be late.
    "RAY_worker_maximum_startup_concurrency": "4",
    "RAY_enable_worker_prestart": "0",  # nor should it start one for every CPU in advance
    "RAY_prestart_worker_first_driver": "0",
    "TUNE_MAX_PENDING_TRIALS_PG": "32",
}


class StubTrial(Trainable):
    """Packs without their computing, each in a thread. Imports no torch: the numbers are to be Ray's and the
    journal's."""

    def setup(self, config: dict[str, Any]) -> None:
        self.folders = [Path(folder) for folder in config["packs"]]

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        threads = [threading.Thread(target=_write, args=(folder,)) for folder in self.folders]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return {"done": True, "ended": time.time(), "memory": private_memory(os.getpid())}


def _write(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with Journal(folder / "journal.jsonl", keep=0) as journal:
        for t in range(LINES):
            journal.points(t, {f"metric{i}": t / (i + 1) for i in range(METRICS)})
        length = journal.commit()
    committed = {"journal_bytes": length, "cursor": LINES, "seconds": 0.0}
    write_sealed(folder / "committed.json", committed)


class Rates(NamedTuple):
    """Attributes: packs; seconds: of all; late: packs per second once half of them were done; worker, head: bytes of
    the largest worker and of Ray's other processes."""

    packs: int
    seconds: float
    late: float
    worker: float
    head: float


def slots(nodes: int, per_node: int, together: int) -> int:
    """Print rates at growing sizes; 1 when the largest could not be tried, or MLflow did not take the journals."""
    from frisket.platform.tracking.uploader import Uploader

    sizes = [4**n for n in range(10) if 4**n < nodes] + [nodes]
    rows, each, sent_from, notes = [], 0.0, None, []
    with tempfile.TemporaryDirectory() as place:
        for size in sizes:
            processes, free = size * per_node // together, free_memory()
            if each * processes > free - _KEPT_FREE:
                notes.append(
                    f"{size} x {per_node} not run: {processes} processes of {each / 2**20:.0f} MiB are "
                    f"{each * processes / 2**30:.0f} GiB, {free / 2**30:.0f} GiB are free, which is room for "
                    f"{int((free - _KEPT_FREE) / each)}"
                )
                break
            folder = new_run(Path(place) / str(size), seeds=2 * size * per_node)
            found = in_own_process(_tune, folder, size * per_node, together)
            each = found.worker
            if found.packs <= _MOST_SENT:
                sent_from = folder
            per_second = found.packs / found.seconds
            rows.append([
                f"{size} x {per_node}", str(processes), str(found.packs), f"{found.seconds:.1f}",
                f"{per_second / together:.1f}", f"{per_second:.1f}", f"{found.late:.1f}",
                f"{per_second * LINES * METRICS:,.0f}", f"{found.worker / 2**20:.0f}", f"{found.head / 2**20:.0f}",
            ])  # fmt: skip
            print(" | ".join(rows[-1]), flush=True)
        print()
        print(table(_HEADER, rows), *notes, sep="\n")
        assert sent_from is not None
        begin = time.monotonic()
        status = Uploader(sent_from, live=True).push()
        seconds, runs = time.monotonic() - begin, len(sent_from.replicas())
        print(f"\nMLflow, a SQLite file: {runs} runs, {status.points:,} metrics in {seconds:.1f} s:", end=" ")
        print(f"{runs / seconds:.1f} runs/s, {status.points / seconds:,.0f} metrics/s {status.reason}")
    return int(bool(notes) or bool(status.reason))


_HEADER = (
    "nodes x slots | processes | packs | seconds | trials/s | packs/s | packs/s, second half | journalled metrics/s | "
    "MiB a process | MiB of Ray's own"
)


def _tune(folder: RunFolder, cpus: int, together: int) -> Rates:
    from ray import tune

    from frisket.platform.cluster.session import ray_session

    os.environ |= {name: value for name, value in _STARTS.items() if name not in os.environ}
    paths = [str(files.path) for files in folder.replicas()]
    trials = [paths[i : i + together] for i in range(0, len(paths), together)]
    with ray_session(cpus=cpus):
        tuner = tune.Tuner(
            tune.with_resources(StubTrial, {"CPU": together}),
            param_space={"packs": tune.grid_search(trials)},
            tune_config=tune.TuneConfig(reuse_actors=True, max_concurrent_trials=cpus // together),
            run_config=tune.RunConfig(
                name="stub", storage_path=str(folder.path / "ray"), verbose=0,
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            ),
        )  # fmt: skip
        begin = time.time()
        results = tuner.fit()
        seconds = time.time() - begin
        head = sum(
            private_memory(pid)
            for pid, (command, _) in family(os.getpid()).items()
            if pid != os.getpid() and "ray::" not in command
        )
    assert not results.errors, results.errors[0]
    ends = sorted(float((result.metrics or {})["ended"]) for result in results)
    half = len(ends) // 2
    late = together * (len(ends) - half) / max(ends[-1] - ends[half - 1], 1e-9)
    worker = max(float((result.metrics or {})["memory"]) for result in results)
    return Rates(len(paths), seconds, late, worker, head)
