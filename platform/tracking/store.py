"""Opening an MLflow store. A SQLite store that is not there yet appears whole or not at all.

MLflow makes its tables one by one, each final at once, with seconds of waiting for the disk in between. A process that
is killed among them leaves a file on which MLflow fails for ever after ("table ... already exists"), and two processes
that begin together trip over each other's tables. So a new database is made in memory, where it takes half a second,
and put into its place by one step of the file system.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import importlib.util
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

from frisket.errors import TrackingError
from frisket.files import making_file, sweep
from frisket.platform.tracking.settings import limit_client, sqlite_file, with_credentials
from frisket.redaction import redacted

if TYPE_CHECKING:
    from mlflow import MlflowClient


def connect(uri: str) -> MlflowClient:
    """A client of the store at ``uri``, for runs and for models; a missing SQLite store is made.

    Args:
        uri: of the store; what was kept without its password will do (`with_credentials`).

    Raises:
        TrackingError: the password is not known any more, or the database is of another version of MLflow.
        Exception: whatever MLflow, the database or the file system raises.
    """
    uri = with_credentials(uri)
    make_store(uri)
    require_schema(uri)
    from mlflow import MlflowClient

    return MlflowClient(uri, registry_uri=uri)


def make_store(uri: str) -> None:
    """Make the SQLite database of ``uri`` if it is missing; nothing for other kinds of stores. What killed processes
    have left of one goes."""
    limit_client()
    path = sqlite_file(uri)
    if path is None or "?" in uri:  # options of SQLite's or its driver's, which may make something else of it
        return
    sweep(path)
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with making_file(path) as fresh:
        _write_empty_store(fresh, artifacts=path.absolute().parent / "mlartifacts")


def require_schema(uri: str) -> None:
    """Raise `TrackingError` where the SQLite database of ``uri`` is of another version of MLflow than is installed.

    MLflow itself would change an older one without a word, where a table is missing, and fail on a newer one. Of no
    other kind of store anything is asked here.

    Raises:
        sqlite3.Error: it cannot be read, which MLflow would try for minutes.
    """
    path = sqlite_file(uri)
    found = None if path is None or not path.exists() else _revision(path)
    if found is None:
        return
    newest, known = _revisions()
    if found == newest:
        return
    here, shown = f"mlflow {importlib.metadata.version('mlflow')}", redacted(uri)
    if found in known:
        fix = f"is older than {newest}, which {here} needs; make a copy of it, then: mlflow db upgrade '{shown}'"
    else:
        fix = f"is not known to {here}, whose newest is {newest}: install a newer mlflow, or name another database"
    raise TrackingError(f"schema of {shown}", found, fix)


def _revision(path: Path) -> str | None:
    """What schema MLflow's database ``path`` says it has; None where it says nothing."""
    store = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    with contextlib.closing(store):
        names = [name for (name,) in store.execute("select name from sqlite_master where name = 'alembic_version'")]
        row = store.execute("select version_num from alembic_version").fetchone() if names else None
    return None if row is None else str(row[0])


@functools.cache
def _revisions() -> tuple[str, frozenset[str]]:
    """The schema of the installed MLflow, and all those it knows of its own past."""
    from alembic.script import ScriptDirectory

    spec = importlib.util.find_spec("mlflow")
    assert spec is not None
    assert spec.origin is not None
    scripts = ScriptDirectory(str(Path(spec.origin).parent / "store" / "db_migrations"))
    (newest,) = scripts.get_heads()
    return newest, frozenset(script.revision for script in scripts.walk_revisions())


def _write_empty_store(path: Path, artifacts: Path) -> None:
    """A database as MLflow makes it on its first use; ``artifacts`` is for its experiment "Default"."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    store = SqlAlchemyStore("sqlite:///:memory:", artifacts.as_uri())
    made, file = store.engine.raw_connection(), sqlite3.connect(path)
    with contextlib.closing(made), contextlib.closing(file):
        memory = made.driver_connection
        assert isinstance(memory, sqlite3.Connection)
        file.execute("pragma journal_mode = off")  # what is made whole or not at all needs none beside it
        memory.backup(file)
    store.engine.dispose()  # MLflow keeps the engine for as long as the process lives; the next store begins empty
