"""The verbs of the command line as functions."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from frisket.errors import ModelError

if TYPE_CHECKING:
    from frisket.platform.model import FrisketModel


def load_model(uri: str | Path, *, tracking_uri: str | None = None) -> FrisketModel:
    """Load a model with all its replicas, states and masks. Runs no code from it.

    Args:
        uri: ``models:/NAME/VERSION`` (or ``/latest``), ``models:/NAME@ALIAS``, ``runs:/RUN/model``, a downloaded model
            folder, or the folder of a finished run.
        tracking_uri: the MLflow store to ask; None for ``MLFLOW_TRACKING_URI``, else ``mlflow.db`` in the working folder.

    Raises:
        ModelError: it leads nowhere, or what is there is damaged or no frisket model.
    """
    from frisket.platform.model import FrisketModel
    from frisket.platform.runfolder import RunFolder

    path = Path(uri)
    if (path / "run.json").is_file():
        return FrisketModel.of_run(RunFolder.open(path))
    if path.is_dir():
        return FrisketModel.load(_data_folder(path))
    if ":/" not in str(uri):
        raise ModelError("model", str(uri), "no such folder; give a folder, models:/NAME/VERSION or runs:/RUN/model")
    from frisket.platform.tracking.download import download

    with tempfile.TemporaryDirectory(prefix="frisket-model-") as folder:
        return FrisketModel.load(_data_folder(download(str(uri), Path(folder), tracking_uri)))


def _data_folder(path: Path) -> Path:
    """The data of the MLflow model in ``path``."""
    import yaml

    try:
        flavors = yaml.safe_load((path / "MLmodel").read_text(encoding="utf-8"))["flavors"]
        if "frisket" in flavors:
            return path / "data"
        found = ", ".join(flavors)
    except (OSError, ValueError, TypeError, KeyError, yaml.YAMLError) as error:
        raise ModelError("model", str(path), f"not a model folder: no readable MLmodel ({error})") from error
    raise ModelError("model", str(path), f"no frisket model; its flavours are {found}")
