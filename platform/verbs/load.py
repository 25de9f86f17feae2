"""``frisket.load_model``: from wherever a model is to the model."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from frisket.errors import ModelError
from frisket.files import scratch
from frisket.places import told
from frisket.platform.model.model import FrisketModel, require_passed
from frisket.platform.run.folder import RunFolder
from frisket.platform.run.points import product
from frisket.platform.specs.text import parse
from frisket.platform.specs.uses import Given, taken


@told()
def load_model(uri: str | Path, *, tracking_uri: str | None = None, uses: Iterable[Given] = ()) -> FrisketModel:
    """Load a model with all its replicas, states and masks; `frisket.platform.api.load_model` says more."""
    if not isinstance(uri, (str, Path)):
        raise ModelError("model", uri, "must be a folder, models:/NAME/VERSION or runs:/RUN/model, as text or a path")
    path, passed = Path(uri), taken(uses)
    if (path / RunFolder.MANIFEST).is_file():
        folder = RunFolder.open(path)
        require_passed(folder.manifest["experiment"].get("uses"), passed)
        folder.pass_uses([use for use in passed if use.given])
        return FrisketModel.of_run(product(folder))
    if path.is_dir():
        return FrisketModel.load(_data_folder(path), uses=passed)
    if ":/" not in str(uri):
        raise ModelError("model", str(uri), "no such folder; give a folder, models:/NAME/VERSION or runs:/RUN/model")
    from frisket.platform.tracking.download import download

    with scratch("model") as folder:
        return FrisketModel.load(_data_folder(download(str(uri), folder, tracking_uri)), uses=passed)


def _data_folder(path: Path) -> Path:
    """The data of the MLflow model in ``path``."""
    try:
        flavors = parse((path / "MLmodel").read_text(encoding="utf-8"), "MLmodel", "file")["flavors"]
        if "frisket" in flavors:
            return path / "data"
        found = ", ".join(flavors)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ModelError("model", str(path), f"not a model folder: no readable MLmodel ({error})") from error
    raise ModelError("model", str(path), f"no frisket model; its flavours are {found}")
