"""Runs an experiment in this process, one replica after the other. Needs neither Ray nor MLflow."""

from __future__ import annotations

from frisket.platform.engine import run_replica
from frisket.platform.executors import Stop, wait_until_free
from frisket.platform.runfolder import RunFolder


def execute(folder: RunFolder, *, data_dir: str | None, stop: Stop) -> None:
    """Run every replica of ``folder`` that has no result yet.

    Args:
        folder: the run.
        data_dir: first place to look for data.
        stop: True ends the run at its next step, after a checkpoint.

    Raises:
        Stopped: ``stop`` said so.
        UserError: data, device or folder are not as they must be.
    """
    for replica in folder.experiment.replicas():
        wait_until_free(folder.replica(replica))
        run_replica(folder, replica, data_dir=data_dir, stop=stop)
