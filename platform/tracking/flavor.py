"""The MLflow flavour ``frisket``: a model folder of data, read by this package.

::

    MLmodel  requirements.txt  python_env.yaml  data/      (the folder of `frisket.platform.model.model`)

``mlflow.pyfunc.load_model`` calls `_load_pyfunc` here, in the installed package, as ``MLmodel`` says. In a folder
that somebody has changed it may name any other module, and a folder ``code`` to import it from: that is MLflow's rule.
`frisket.load_model` reads ``data/`` alone, and runs nothing.
"""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path
from typing import Any

import mlflow.models.utils
import numpy as np
import yaml
from mlflow import pyfunc
from mlflow.models import Model, ModelSignature
from mlflow.types import DataType, ParamSchema, ParamSpec, Schema, TensorSpec

import frisket
from frisket.platform.model.index import FORMAT
from frisket.platform.model.model import FrisketModel, write_model
from frisket.platform.run.folder import RunFolder

FLAVOR = "frisket"
DATA = "data"


def save_model(path: str | Path, folder: RunFolder, mlflow_model: Model | None = None) -> Model:
    """Write the finished run ``folder`` as an MLflow model.

    Args:
        path: the model's folder; made here.
        folder: the run.
        mlflow_model: carries MLflow's ids; a fresh one by default.

    Returns:
        ``mlflow_model`` with flavours and signature.
    """
    path = Path(path)
    path.mkdir(parents=True, exist_ok=True)
    write_model(folder, path / DATA)
    model = mlflow_model or Model()
    model.signature = signature(FrisketModel.load(path / DATA, uses=folder.experiment.uses))
    model.add_flavor(FLAVOR, format=FORMAT, frisket_version=frisket.__version__, data=DATA)
    pyfunc.add_to_model(model, loader_module=__name__, data=DATA, python_env="python_env.yaml")
    (path / "requirements.txt").write_text("\n".join(requirements()) + "\n", encoding="utf-8")
    environment = {
        "python": ".".join(map(str, sys.version_info[:3])),
        "build_dependencies": ["pip"],
        "dependencies": ["-r requirements.txt"],
    }
    (path / "python_env.yaml").write_text(yaml.safe_dump(environment, sort_keys=False), encoding="utf-8")
    model.save(str(path / "MLmodel"))
    return model


def signature(model: FrisketModel) -> ModelSignature:
    """``[-1, C, H, W]`` float32 to ``[-1, ways]`` float32 (a generative model's pixels); parameters ``seed``, with
    variants ``variant``, with a mask for each task ``task``, ``form`` and ``return_task``."""
    member = model.member()
    params = [ParamSpec("seed", DataType.long, model.seeds[0])]
    if model.variants:
        params.append(ParamSpec("variant", DataType.string, model.variants[0]))
    if model.has_tasks:
        params.append(ParamSpec("task", DataType.string, None))
        params.append(ParamSpec("form", DataType.string, "exhaustive"))
        params.append(ParamSpec("return_task", DataType.boolean, False))
    return ModelSignature(
        inputs=Schema([TensorSpec(np.dtype(np.float32), (-1, *member.inputs.shape))]),
        outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, model.outputs))]),
        params=ParamSchema(params),
    )


def requirements() -> list[str]:
    """What a serving environment must install, local build tags (``+cpu``) cut off."""
    others = [f"{name}=={importlib.metadata.version(name).partition('+')[0]}" for name in ("mlflow", "numpy", "torch")]
    return [f"frisket=={frisket.__version__}", *others]


class _Predictor:
    """What ``mlflow.pyfunc`` talks to."""

    def __init__(self, model: FrisketModel) -> None:
        self.model = model

    def predict(
        self, model_input: np.ndarray, params: dict[str, Any] | None = None
    ) -> np.ndarray | dict[str, np.ndarray | int]:
        """Probabilities; with ``return_task`` ``{"probabilities", "task"}``, the task that was answered as."""
        chosen = dict(params or {})
        if not chosen.pop("return_task", False):
            return self.model.predict(model_input, **chosen)
        chosen["task"] = self.model.task(model_input, **chosen)
        return {"probabilities": self.model.predict(model_input, **chosen), "task": chosen["task"]}


def _load_pyfunc(path: str) -> _Predictor:
    model = FrisketModel.load(path)
    if model.has_tasks:
        _allow_numbers_as_text()
    return _Predictor(model)


def _allow_numbers_as_text() -> None:
    """Let MLflow turn a whole number given for a parameter of type string into its digits.

    ``task`` is a number or a word, and MLflow has no type for that. Among its conversions between parameters' types
    (int to long, long to double, ...) this one is missing; without it callers would have to write ``{"task": "2"}``.
    """
    conversions = getattr(mlflow.models.utils, "_ALLOWED_CONVERSIONS_FOR_PARAMS", None)
    if conversions is not None:  # elsewhere in another MLflow: the digits are still taken
        conversions.setdefault(DataType.string, (DataType.integer, DataType.long))
