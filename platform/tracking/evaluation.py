"""An evaluation of a registered model as an MLflow run of its own, linked to the model.

It lies in the experiment of the run that made the model and has that model as its input; its metrics name the model, so
that the model's page shows them. The same evaluation, made once more, is the same run: its numbers are the same.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from frisket.algos.masks.mask_set import MaskSet
from frisket.files import scratch, sha256, write_text
from frisket.platform.reports.depth import draw_depth
from frisket.platform.reports.figure import Heading, save
from frisket.platform.tracking.download import version_of
from frisket.platform.tracking.failure import said_of
from frisket.platform.tracking.points import metric_name
from frisket.platform.tracking.settings import with_credentials
from frisket.platform.tracking.store import connect
from frisket.redaction import redacted

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

TAG = "frisket.evaluation"
_SETTINGS = ("stream", "split", "episodes", "ways", "shots", "norm", "domain", "overrides")


def log_evaluation(
    found: Mapping[str, Any], masks: Mapping[str, Sequence[MaskSet]], store: str
) -> dict[str, str | None]:
    """``tracking_uri``, ``run_id`` and, where there is no run, ``reason``. Never raises for MLflow's sake.

    Args:
        found: what `frisket.platform.verbs.evaluate.evaluate` gives; its ``model`` is an address.
        masks: of every variant that has some, those of its seeds.
        store: where the model is registered.
    """
    said = {"tracking_uri": redacted(store), "run_id": None, "reason": None}
    try:
        client = connect(with_credentials(store))
        version = version_of(client, found["model"])
        if version is None:
            return said | {"reason": "the model is no version of a registered one"}
        return said | {"run_id": _run(client, version, found, masks)}
    except Exception as error:  # a client has many ways to fail, and none of them may end the command
        return said | {"reason": f"MLflow {said_of(error)}"}


def _run(
    client: MlflowClient, version: ModelVersion, found: Mapping[str, Any], masks: Mapping[str, Sequence[MaskSet]]
) -> str:
    from mlflow.entities import LoggedModelInput, Metric, Param, RunTag

    assert version.run_id is not None
    maker = client.get_run(version.run_id)
    experiment = maker.info.experiment_id
    # A version read over HTTP does not tell which logged model it is; the run that made it does.
    model_id = next((one.model_id for one in maker.outputs.model_outputs), None) if maker.outputs else None
    content = json.dumps({**found, "model": f"models:/{version.name}/{version.version}"}, indent=1)
    key = sha256(content.encode())
    tags = {TAG: key, "frisket.model": f"models:/{version.name}/{version.version}", "mlflow.source.name": "frisket"}
    known = client.search_runs([experiment], f"tags.`{TAG}` = '{key}'")
    made = known[0] if known else client.create_run(experiment, run_name=f"evaluate {found['stream']}", tags=tags)
    run_id = made.info.run_id
    if made.info.status == "FINISHED":  # else it is new, or was broken off
        return run_id
    now = int(time.time() * 1000)
    metrics = [Metric(k, v, now, 0, model_id=model_id, run_id=run_id) for k, v in _numbers(found).items()]
    settings = {k: found[k] for k in _SETTINGS} | {"data": found["data"]["mode"], "seeds": found["summary"][0]["n"]}
    client.log_batch(
        run_id, metrics, [Param(k, str(v)) for k, v in settings.items()], [RunTag("mlflow.note.content", _note(found))]
    )
    if model_id is not None:
        client.log_inputs(run_id, models=[LoggedModelInput(model_id)])
    with scratch("evaluation") as folder:
        write_text(folder / "evaluation.json", content, durable=False)
        if masks:
            caption = f"models:/{version.name}/{version.version}  |  {_note(found)}"
            save(draw_depth(masks, Heading(found["of"], caption)), folder / "depth.png")
        client.log_artifacts(run_id, str(folder))
    client.set_terminated(run_id, "FINISHED")
    return run_id


def _numbers(found: Mapping[str, Any]) -> dict[str, float]:
    """Of every variant, and of each of several domains, the mean and the widest interval of a seed; of the only
    variant, or the first, without prefix."""
    numbers: dict[str, float] = {}
    for place, row in enumerate(found["summary"]):
        values = {"accuracy": row["accuracy"], "accuracy/interval": row["interval"]}
        values |= {"accuracy_std": row["std"]} if row["n"] > 1 else {}
        values |= {name: value for name, value in row.items() if name.startswith("accuracy/")}  # of domains
        prefixes = ([""] if place == 0 else []) + ([f"{row['variant']}/"] if row["variant"] else [])
        numbers |= {metric_name(prefix + k): v for prefix in prefixes for k, v in values.items()}
    return numbers


def _note(found: Mapping[str, Any]) -> str:
    return (
        f"{found['of']} on {found['domain']}: {found['ways']}-way {found['shots']}-shot, {found['episodes']} "
        f"{found['split']} episodes, {found['data']['mode']} data"
    )
