"""Where runs are tracked, and how long the client may wait. Imports no MLflow."""

from __future__ import annotations

import base64
import logging
import os
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from frisket.errors import TrackingError
from frisket.redaction import HIDDEN, redacted

_SQLITE = re.compile(r"sqlite(?:\+pysqlite)?:///(?P<path>[^?]*)(?P<options>.*)", re.DOTALL)
_QUOTED = str.maketrans({sign: f"%{ord(sign):02X}" for sign in "%?&;*"})
"""What a path may not have bare in a URI: what SQLAlchemy takes for something else, and what looks like a secret, or
like one that was hidden."""

SERVERS = ("http://", "https://")
"""How the URI of a server begins."""

_LOGIN, _TOKEN = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"), "MLFLOW_TRACKING_TOKEN"
_LOGIN_FILE = Path("~/.mlflow/credentials")
"""Where MLflow's client finds by itself what a server wants to hear."""

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
    """``MLFLOW_TRACKING_URI``, else ``mlflow.db`` (SQLite) in the working folder; SQLite paths made absolute.

    Raises:
        TrackingError: the path cannot be said in a URI.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"
    path, found = sqlite_file(uri), _SQLITE.fullmatch(uri)
    return uri if path is None or found is None else sqlite_uri(path) + found["options"]


def sqlite_uri(path: Path) -> str:
    """The URI of a SQLite database: of no other file, whatever the folders above it are called.

    Raises:
        TrackingError: there is none.
    """
    plain = str(path.absolute())
    quoted, fix = plain.translate(_QUOTED), "MLflow finds no database there: work in a folder whose name has no {}"
    try:
        plain.encode()
    except UnicodeEncodeError as error:
        raise TrackingError("tracking database", plain, fix.format("bytes that are not UTF-8")) from error
    if quoted == plain:
        return f"sqlite:///{plain}"
    from sqlalchemy.engine import make_url

    # With the driver named: MLflow makes the folders of a URI without it, by the name as it is quoted.
    uri = f"sqlite+pysqlite:///{quoted}"
    if make_url(uri).database != plain:  # before 2.1
        raise TrackingError("tracking database", plain, f"{fix.format('% ? & ; *')}, or install sqlalchemy>=2.1")
    return uri


def kept_uri() -> str:
    """`tracking_uri` as a new run keeps it, without secrets; `with_credentials` makes it one to be used."""
    return redacted(tracking_uri())


def sqlite_file(uri: str) -> Path | None:
    """The database file of a SQLite URI, as SQLAlchemy reads it; None for any other, and for one of SQLite's own."""
    found = _SQLITE.fullmatch(uri)
    if found is None or "uri=" in found["options"]:
        return None
    return Path(unquote(found["path"]))


def with_credentials(uri: str) -> str:
    """``uri`` to be used: one that was `redacted` with what is secret of it taken from the environment.

    Raises:
        TrackingError: the environment does not have it (any more); it says which variables to set.
    """
    if HIDDEN not in uri:
        return uri
    named = os.environ.get("MLFLOW_TRACKING_URI", "")
    if named != uri and redacted(named) == uri:
        return named
    bare = uri.replace(f"{HIDDEN}@", "")
    is_server = HIDDEN not in bare and bare.startswith(SERVERS)  # which MLflow's client asks with these by itself
    if is_server and (_LOGIN_FILE.expanduser().exists() or any(map(os.environ.get, (*_LOGIN, _TOKEN)))):
        return bare
    also = f", or {' and '.join(_LOGIN)}" if is_server else ""
    fix = f"the password of {uri} is kept nowhere: set it to that URI with its password{also}"
    raise TrackingError("MLFLOW_TRACKING_URI", redacted(named) or None, fix)


def authorization(uri: str) -> tuple[str, dict[str, str]]:
    """The server's ``uri`` without user and password, and the headers of a request to it, as MLflow's client makes
    them: by the URI, else by MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, else by MLFLOW_TRACKING_TOKEN."""
    user, at, _ = urlsplit(uri).netloc.rpartition("@")
    name, _, password = map(unquote, user.partition(":"))
    if not at:
        name, password = (os.environ.get(variable, "") for variable in _LOGIN)
    token = os.environ.get(_TOKEN)
    if name:
        said = f"Basic {base64.b64encode(f'{name}:{password}'.encode()).decode()}"
    else:
        said = f"Bearer {token}" if token else ""
    return uri.replace(f"{user}@", "", 1) if at else uri, {"Authorization": said} if said else {}


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
    for name in ("alembic", "mlflow.tracking", "mlflow.utils.autologging_utils"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in ("mlflow.store", "mlflow.exceptions"):  # they log, with tracebacks, what they raise
        logging.getLogger(name).setLevel(logging.CRITICAL)
