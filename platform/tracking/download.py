"""Fetching a model from MLflow.

URIs are resolved here: MLflow's resolver asks the process's default store midway, whichever store it was told to use.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from frisket.errors import ModelError, cut_short, nearest
from frisket.platform.tracking.failure import said_of
from frisket.platform.tracking.settings import tracking_uri as default_uri
from frisket.platform.tracking.settings import with_credentials
from frisket.platform.tracking.store import connect
from frisket.redaction import redacted

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

_ABSENT = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
"""What MLflow's errors are called where it has not what was asked for (the second: an alias)."""

_SOME = 20  # versions that a message lists


def download(uri: str, folder: Path, tracking_uri: str | None = None) -> Path:
    """Bring the model at ``uri`` to this machine; returns where it lies (under ``folder``, or in a local store).

    Args:
        uri: see `frisket.platform.api.load_model`.
        folder: an empty folder to download to.
        tracking_uri: the store; None for the default one.

    Raises:
        ModelError: there is none, or the store cannot be reached.
    """
    store = tracking_uri or default_uri()
    try:
        store = with_credentials(store)
        location = _found(connect(store), uri)
        from mlflow.artifacts import download_artifacts

        return Path(download_artifacts(location, dst_path=str(folder), tracking_uri=store))
    except LookupError as error:
        fix = f"is not in MLflow at {redacted(store)}: {error.args[0]}"
        raise ModelError("model", redacted(uri), fix) from error
    except Exception as error:  # whatever the client, the database or the network raises, the user asked for a model
        fix = f"cannot be had: MLflow at {redacted(store)} {said_of(error)}"
        raise ModelError("model", redacted(uri), fix) from error


def _found(client: MlflowClient, uri: str) -> str:
    """`_location`, with words for what is not there that say what is.

    Raises:
        LookupError: there is no such model, version, alias or run.
        Exception: whatever the client raises.
    """
    from mlflow.exceptions import MlflowException

    try:
        return _location(client, uri)
    except MlflowException as error:
        if error.error_code not in _ABSENT:
            raise
        named = re.match(r"models:/+(?!m-)([^/@]+)[/@]", uri)
        raise LookupError(cut_short(str(error), 200) if named is None else _there(client, named[1])) from error


def _there(client: MlflowClient, name: str) -> str:
    """What there is of the model ``name``, for somebody who asked for what is not."""
    versions = client.search_model_versions(f"name = '{name}'", order_by=["version_number DESC"], max_results=_SOME)
    if not versions:
        names = [model.name for model in client.search_registered_models(max_results=1000)]
        return f"no model has that name; {nearest(name, names)}" if names else "there are no models yet"
    aliases = sorted(client.get_registered_model(name).aliases)
    also = f", aliases {', '.join(aliases)}" if aliases else ""
    more = " and older ones" if len(versions) == _SOME else ""
    return f"there are versions {', '.join(str(v.version) for v in versions)}{more}{also}"


def _location(client: MlflowClient, uri: str) -> str:
    """Where the files of the model ``uri`` are; URIs of other schemes are places themselves."""
    version = version_of(client, uri)
    if version is not None:
        return client.get_model_version_download_uri(version.name, str(version.version))
    if found := re.fullmatch(r"models:/+(m-[^/@]+)", uri):
        return client.get_logged_model(found[1]).artifact_location
    if found := re.fullmatch(r"runs:/+([^/]+)/([^/]+)/?", uri):
        outputs = client.get_run(found[1]).outputs
        models = [client.get_logged_model(o.model_id) for o in (outputs.model_outputs if outputs else [])]
        for model in models:
            if model.name == found[2]:
                return model.artifact_location
        raise LookupError(f"the run has no model {found[2]!r}, only {[m.name for m in models]}")
    if uri.startswith(("models:", "runs:")):
        raise LookupError("write models:/NAME/VERSION, models:/NAME@ALIAS or runs:/RUN/model")
    return uri


def version_of(client: MlflowClient, uri: str) -> ModelVersion | None:
    """The version of a registered model that ``uri`` names; None for what is no such address.

    Raises:
        LookupError: the model has no versions.
        MlflowException: there is no such model, version or alias.
    """
    if found := re.fullmatch(r"models:/+([^/@]+)@([^/@]+)", uri):
        return client.get_model_version_by_alias(*found.groups())
    if found := re.fullmatch(r"models:/+([^/@]+)/latest", uri, re.IGNORECASE):
        versions = client.search_model_versions(f"name = '{found[1]}'", order_by=["version_number DESC"], max_results=1)
        if not versions:
            raise LookupError(_there(client, found[1]))
        return versions[0]
    found = re.fullmatch(r"models:/+([^/@]+)/(\d+)", uri)
    return None if found is None else client.get_model_version(*found.groups())
