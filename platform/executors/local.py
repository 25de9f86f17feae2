"""Runs an experiment in this process, one pack after the other. Needs neither Ray nor MLflow."""

from __future__ import annotations

from frisket.platform.executors import Stop, wait_until_free
from frisket.platform.run.engine import run_pack
from frisket.platform.run.folder import RunFolder


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
    for pack in folder.packs:
        wait_until_free(folder.pack(pack))
        run_pack(folder, pack, data_dir=data_dir, stop=stop)
