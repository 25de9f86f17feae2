"""Runs an experiment in this process, one pack after the other. Needs neither Ray nor MLflow."""

from __future__ import annotations

from frisket.errors import RunError
from frisket.platform.executors import Stop, wait_until_free
from frisket.platform.run.engine import run_pack
from frisket.platform.run.folder import RunFolder


def execute(folder: RunFolder, *, data_dir: str | None, stop: Stop) -> None:
    """As `frisket.platform.executors.execute` says; raises `RunError` where only Ray Tune can run ``folder``."""
    search = folder.experiment.tune
    if search is not None and search.early_stopping:
        raise RunError("local", folder.run_id, "stopping points early is Ray Tune's work: leave local out")
    for pack in folder.packs:
        wait_until_free(folder.pack(pack))
        run_pack(folder, pack, data_dir=data_dir, stop=stop)
