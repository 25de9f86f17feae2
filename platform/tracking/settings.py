"""Where runs are tracked, and how long the client may wait. Imports no MLflow."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from urllib.parse import urlsplit

_SQLITE = "sqlite:///"

# MLflow's own limits (7 retries, 120 s each) would hold a run's end for many minutes when the server is away, and its
# retry of a request whose answer got lost creates things twice. We repeat the sending ourselves, looking first for what
# is there, so one short try is enough. A user's own setting wins.
CLIENT_DEFAULTS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


def tracking_uri() -> str:
    """``MLFLOW_TRACKING_URI``, else ``mlflow.db`` (SQLite) in the working folder; SQLite paths made absolute."""
    uri = os.environ.get("MLFLOW_TRACKING_URI") or f"{_SQLITE}mlflow.db"
    path = sqlite_file(uri)
    return uri if path is None else f"{_SQLITE}{path.absolute()}"


def default_tracking(name: str) -> dict[str, str]:
    """What a new run of the experiment ``name`` keeps under ``tracking`` in its manifest: ``{"uri", "experiment"}``."""
    return {"uri": tracking_uri(), "experiment": f"frisket/{name}"}


def sqlite_file(uri: str) -> Path | None:
    """The database file of a ``sqlite:///`` URI, None for any other."""
    return Path(uri.removeprefix(_SQLITE)) if uri.startswith(_SQLITE) else None


def public_uri(uri: str) -> str:
    """``uri`` without user name and password, for messages and files."""
    parts = urlsplit(uri)
    return uri if "@" not in parts.netloc else parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def artifact_location(uri: str, experiment: str) -> str | None:
    """Where a new experiment keeps its files: ``mlartifacts`` beside a SQLite store, None (its choice) on a server.

    MLflow's own default depends on the working folder of whoever creates the experiment.
    """
    path = sqlite_file(uri)
    if path is None:
        return None
    return (path.absolute().parent / "mlartifacts" / experiment.replace("/", "-")).as_uri()


def limit_client() -> None:
    """Bound MLflow's waiting in this process, and keep it from writing on the user's terminal."""
    for name, value in CLIENT_DEFAULTS.items():
        os.environ.setdefault(name, value)
    for name in ("alembic", "mlflow.store", "mlflow.tracking", "mlflow.utils.autologging_utils"):
        logging.getLogger(name).setLevel(logging.WARNING)
