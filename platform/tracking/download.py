"""Fetching a model from MLflow."""

from __future__ import annotations

from pathlib import Path

from frisket.errors import ModelError
from frisket.platform.tracking.settings import limit_client, public_uri
from frisket.platform.tracking.settings import tracking_uri as default_uri


def download(uri: str, folder: Path, tracking_uri: str | None = None) -> Path:
    """Bring the model at ``uri`` to this machine; returns where it lies (under ``folder``, or in a local store).

    Raises:
        ModelError: there is none, or the store cannot be reached.
    """
    store = tracking_uri or default_uri()
    limit_client()
    try:
        from mlflow.artifacts import download_artifacts

        return Path(download_artifacts(uri, dst_path=str(folder), tracking_uri=store, registry_uri=store))
    except Exception as error:  # whatever the client, the database or the network raises, the user asked for a model
        reason = " ".join(str(error).split())[:300]
        raise ModelError(
            "model", uri, f"cannot be had from MLflow at {public_uri(store)} ({reason}); `frisket ui` lists the models"
        ) from error
