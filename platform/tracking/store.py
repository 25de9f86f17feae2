"""Opening an MLflow store. A SQLite store that is not there yet appears whole or not at all.

MLflow makes its tables one by one, each final at once, with seconds of waiting for the disk in between. A process that
is killed among them leaves a file on which MLflow fails for ever after ("table ... already exists"), and two processes
that begin together trip over each other's tables. So a new database is made in memory, where it takes half a second,
and put into its place by one step of the file system.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

from frisket.platform.tracking.settings import limit_client, sqlite_file, with_credentials

if TYPE_CHECKING:
    from mlflow import MlflowClient


def connect(uri: str) -> MlflowClient:
    """A client of the store at ``uri``, for runs and for models; a missing SQLite store is made.

    Args:
        uri: of the store; what was kept without its password will do (`with_credentials`).

    Raises:
        TrackingError: the password is not known any more.
        Exception: whatever MLflow, the database or the file system raises.
    """
    uri = with_credentials(uri)
    make_store(uri)
    from mlflow import MlflowClient

    return MlflowClient(uri, registry_uri=uri)


def make_store(uri: str) -> None:
    """Make the SQLite database of ``uri`` if it is missing; nothing for other kinds of stores."""
    limit_client()
    path = sqlite_file(uri)
    if path is None or "?" in uri or path.exists():  # what follows a "?" is no part of the file's name
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        _write_empty_store(fresh, artifacts=path.absolute().parent / "mlartifacts")
        with contextlib.suppress(FileExistsError):  # another process was quicker: a link, unlike a renaming, spares it
            os.link(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)


def _write_empty_store(path: Path, artifacts: Path) -> None:
    """A database as MLflow makes it on its first use; ``artifacts`` is for its experiment "Default"."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    store = SqlAlchemyStore("sqlite:///:memory:", artifacts.as_uri())
    made, file = store.engine.raw_connection(), sqlite3.connect(path)
    with contextlib.closing(made), contextlib.closing(file):
        memory = made.driver_connection
        assert isinstance(memory, sqlite3.Connection)
        memory.backup(file)
    store.engine.dispose()  # MLflow keeps the engine for as long as the process lives; the next store begins empty
