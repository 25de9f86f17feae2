"""Where replicas run: in this process (`local`) or on Ray (`ray_train`, and `ray_tune` for searches).

All lead the same packs through `frisket.platform.run.engine.run_pack`, so where and by how many workers a run is
executed moves no number.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from frisket.errors import RunError, Stopped
from frisket.platform.cluster.session import ray_session, worker_count
from frisket.platform.run.folder import PackFolder, RunFolder

Stop = Callable[[], bool]
"""Asked often; True means: checkpoint and stop."""

_TRIALS = ("frisket.platform.executors.ray_trial",)
"""What a search's workers import as soon as they are there: five seconds of a core, while the driver gets ready."""

_DYING_SECONDS = 20.0
"""How long a killed process may take to let go of its replicas; Ray starts new workers while the old ones still die."""


class Shares(NamedTuple):
    """Attributes: workers: how many work at once; resources: what each of them takes of the cluster."""

    workers: int
    resources: dict[str, float]


def execute(folder: RunFolder, *, local: bool, workers: int | None, data_dir: str | None, stop: Stop) -> None:
    """Run every replica of ``folder`` that has no result yet.

    Args:
        folder: the run.
        local: in this process, one pack after the other.
        workers: of Ray Train, or trials of Ray Tune at once; None for one per pack, as far as CPUs (or GPUs) go.
        data_dir: first place to look for data.
        stop: True ends the run, after checkpoints.

    Raises:
        Stopped: ``stop`` said so.
        UserError: data, device or folder are not as they must be.
        FrisketError: a replica failed, or workers died again and again.
    """
    if local:
        from frisket.platform.executors import local as in_process

        in_process.execute(folder, data_dir=data_dir, stop=stop)
        return
    cpus = worker_count(folder.experiment, local=local, workers=workers) * folder.experiment.threads
    search = folder.experiment.tune is not None
    stopped = Stopped(f"run {folder.run_id} stopped")
    if stop():
        raise stopped
    with ray_session(cpus=cpus, preload=_TRIALS if search else ()):
        if stop():  # while Ray started
            raise stopped
        if search:
            from frisket.platform.executors import ray_tune

            ray_tune.execute(folder, workers=workers, data_dir=data_dir, stop=stop)
        else:
            from frisket.platform.executors import ray_train

            ray_train.execute(folder, workers=workers, data_dir=data_dir, stop=stop)
    if not folder.done:
        raise stopped


def wait_until_free(files: PackFolder, patience: float = _DYING_SECONDS) -> None:
    """Wait up to ``patience`` seconds for a dying process to let go of a pack.

    Raises:
        RunError: it is still being worked on.
    """
    deadline = time.monotonic() + patience
    while True:
        try:
            with files.lock():
                return
        except RunError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
