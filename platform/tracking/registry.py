"""One model version per experiment run."""

from __future__ import annotations

import re

import mlflow
from mlflow import MlflowClient
from mlflow.entities import LoggedModel, LoggedModelOutput
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import Model

from frisket.files import scratch
from frisket.platform.reports.card import card
from frisket.platform.run.collapse import collapses
from frisket.platform.run.divergence import divergences
from frisket.platform.run.folder import RunFolder
from frisket.platform.run.points import PointFolder
from frisket.platform.tracking.flavor import save_model
from frisket.redaction import redacted

TAG = "frisket.run_id"
ARTIFACT = "model"


def registered_name(spec: str) -> str:
    """``osaka/p98-sparse-cmaml`` as a registry name, which cannot hold ``/`` or ``:``."""
    return re.sub(r"[/:]", "-", spec)


def register(client: MlflowClient, folder: RunFolder, experiment_id: str, run_id: str) -> tuple[str, str]:
    """The model version of the finished run, or best point, ``folder``, made unless it is there; returns ``(name,
    version)``."""
    name = registered_name(folder.manifest["spec"])
    found = _version(client, name, folder.run_id)
    if found is None:
        model = _logged_model(client, folder, experiment_id, run_id)
        _ensure_name(client, name)
        created = client.create_model_version(
            name,
            source=_source(folder.manifest["tracking"]["uri"], model),
            run_id=run_id,
            model_id=model.model_id,
            tags={
                TAG: folder.run_id,
                "frisket.spec": folder.manifest["spec"],
                "frisket.data": folder.manifest["data_mode"],
                "frisket.figures": f"runs:/{run_id}/figures",
                **_search_tags(folder),
                **_warning_tags(folder),
            },
        )
        # Looked for again: an answer lost below us may have been asked for twice, and made two.
        found = _version(client, name, folder.run_id) or created
    # The card says how to load this very version, so it can only be written once the version has its number.
    client.update_model_version(name, str(found.version), card(folder, experiment_id, run_id, name, str(found.version)))
    return name, str(found.version)


def _search_tags(folder: RunFolder) -> dict[str, str]:
    """For the best point of a search: which search, which point."""
    if not isinstance(folder, PointFolder):
        return {}
    return {"frisket.best_of_search": folder.run_id, "frisket.point": folder.point.label}


def _warning_tags(folder: RunFolder) -> dict[str, str]:
    """How many of its replicas have diverged, and of how many the masks have collapsed; nothing where none has."""
    found = {"frisket.diverged": divergences(folder), "frisket.mask_collapsed": collapses(folder.results())}
    return {tag: f"{len(keys)} of {len(folder.replicas())} replicas" for tag, keys in found.items() if keys}


def _version(client: MlflowClient, name: str, frisket_run: str) -> ModelVersion | None:
    """The run's version; of doubles the first is kept."""
    found = client.search_model_versions(f"name = '{name}' AND tags.`{TAG}` = '{frisket_run}'")
    found = sorted(found, key=lambda v: int(v.version))
    for double in found[1:]:
        client.delete_model_version(name, str(double.version))
    return found[0] if found else None


def _logged_model(client: MlflowClient, folder: RunFolder, experiment_id: str, run_id: str) -> LoggedModel:
    """The logged model behind the version, with its files."""
    models = _logged_models(client, folder, experiment_id)
    if not models:
        created = client.create_logged_model(
            experiment_id, name=ARTIFACT, source_run_id=run_id, model_type="frisket", tags={TAG: folder.run_id}
        )
        models = _logged_models(client, folder, experiment_id) or [created]
    model, *doubles = models
    for double in doubles:
        client.delete_logged_model(double.model_id)
    if model.status != "READY":
        with scratch("model") as temporary:
            path = temporary / ARTIFACT
            described = Model(artifact_path=model.artifact_location, run_id=run_id, model_id=model.model_id)
            save_model(path, folder, described)
            client.log_model_artifacts(model.model_id, str(path))
        client.finalize_logged_model(model.model_id, "READY")
    outputs = client.get_run(run_id).outputs
    if outputs is None or model.model_id not in {o.model_id for o in outputs.model_outputs}:
        client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
    return model


def _logged_models(client: MlflowClient, folder: RunFolder, experiment_id: str) -> list[LoggedModel]:
    found = client.search_logged_models([experiment_id], f"tags.`{TAG}` = '{folder.run_id}'")
    return sorted(found, key=lambda m: (m.creation_timestamp, m.model_id))


def _source(uri: str, model: LoggedModel) -> str:
    """Where a version says its files are: the logged model, which the version's page then links to.

    A database store (no server) looks that up in the process's default store, whichever store it is itself; where that
    is another one, the folder must do.
    """
    if uri.startswith("http") or redacted(mlflow.get_tracking_uri()) == uri:
        return f"models:/{model.model_id}"
    return model.artifact_location


def _ensure_name(client: MlflowClient, name: str) -> None:
    try:
        client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        try:
            client.create_registered_model(name, description="Models made by frisket; every version has its own card.")
        except MlflowException as race:
            if race.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
