"""A new SQLite store: whole or not there, whatever becomes of who makes it."""

from __future__ import annotations

import contextlib
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from frisket.files import making_file
from frisket.platform.tracking.store import connect, make_store

_CLIENT = """
import sys
import mlflow.store.tracking.sqlalchemy_store
from frisket.platform.tracking.store import connect
print("ready", flush=True)
uri, name = sys.stdin.readline().split()
client = connect(uri)
client.create_experiment(name)
print("done", flush=True)
sys.stdin.read()
"""

Begin = Callable[[], "subprocess.Popen[str]"]


@pytest.fixture
def begin(environment: dict[str, str], tmp_path: Path) -> Iterator[Begin]:
    """A process that has MLflow loaded, and makes an experiment once it reads ``URI NAME``."""
    clients: list[subprocess.Popen[str]] = []

    def start() -> subprocess.Popen[str]:
        client = subprocess.Popen(
            [sys.executable, "-c", _CLIENT],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=tmp_path,
        )  # fmt: skip
        clients.append(client)
        return client

    yield start
    for client in clients:
        client.kill()
        client.communicate()


def ask(client: subprocess.Popen[str], line: str) -> None:
    assert client.stdin is not None
    client.stdin.write(line)
    client.stdin.flush()


def hear(client: subprocess.Popen[str]) -> str:
    assert client.stdout is not None
    return client.stdout.readline()


def names(client: MlflowClient) -> set[str]:
    return {experiment.name for experiment in client.search_experiments()}


@pytest.mark.process
def test_kill_in_the_midst_of_making_it(tmp_path: Path, begin: Begin) -> None:
    """SIGKILL when a part of the tables is on the disk (all take 950 kB). The next one finds a store that works."""
    place, client = tmp_path / "store", begin()
    place.mkdir()
    assert hear(client) == "ready\n"
    ask(client, f"sqlite:///{place}/mlflow.db first\n")
    while _bytes_in(place) < 600_000:
        assert client.poll() is None
    client.kill()
    assert client.wait() == -signal.SIGKILL
    after = connect(f"sqlite:///{place}/mlflow.db")
    after.create_experiment("second")
    assert {"Default", "second"} <= names(after)
    assert [path.name for path in place.iterdir()] == ["mlflow.db"]


@pytest.mark.process
def test_two_that_begin_at_once_share_one_store(tmp_path: Path, begin: Begin) -> None:
    uri, clients = f"sqlite:///{tmp_path}/store/mlflow.db", {"a": begin(), "b": begin()}
    assert [hear(client) for client in clients.values()] == ["ready\n"] * 2
    for name, client in clients.items():
        ask(client, f"{uri} {name}\n")
    assert [hear(client) for client in clients.values()] == ["done\n"] * 2
    assert names(connect(uri)) == {"Default", "a", "b"}
    assert [path.name for path in (tmp_path / "store").iterdir()] == ["mlflow.db"]


def test_it_is_the_store_that_mlflow_would_have_made(tmp_path: Path) -> None:
    make_store(f"sqlite:///{tmp_path}/ours.db")
    MlflowClient(f"sqlite:///{tmp_path}/theirs.db").search_experiments()
    ours, theirs = (_shape(tmp_path / f"{whose}.db") for whose in ("ours", "theirs"))
    assert ours == theirs
    assert len(ours) > 50


def test_a_store_that_is_there_is_left_alone(tmp_path: Path) -> None:
    there = tmp_path / "mlflow.db"
    there.write_bytes(b"not ours to judge")
    make_store(f"sqlite:///{there}")
    assert there.read_bytes() == b"not ours to judge"
    assert list(tmp_path.iterdir()) == [there]


def test_what_a_killed_process_has_left_of_one_goes(tmp_path: Path) -> None:
    """Also where another has made the store; what is of somebody who still works on it stays."""
    make_store(f"sqlite:///{tmp_path}/mlflow.db")
    left = tmp_path / f".part-{'0a' * 8}-mlflow.db"
    left.write_bytes(b"half")
    with making_file(tmp_path / "mlflow.db") as held:
        make_store(f"sqlite:///{tmp_path}/mlflow.db")
        assert {path.name for path in tmp_path.iterdir()} == {"mlflow.db", held.name}
    assert [path.name for path in tmp_path.iterdir()] == ["mlflow.db"]
    assert names(connect(f"sqlite:///{tmp_path}/mlflow.db")) == {"Default"}  # the quicker one's, not the empty one


@pytest.mark.parametrize(
    "uri", ["http://127.0.0.1:9", "postgresql://nobody@127.0.0.1:9/none", "sqlite:///m.db?mode=ro"]
)
def test_other_stores_are_made_by_others(uri: str, workplace: Path) -> None:
    make_store(uri)
    assert not list(workplace.iterdir())


def _bytes_in(folder: Path) -> int:
    with contextlib.suppress(FileNotFoundError):  # of what just went
        return sum(path.stat().st_size for path in folder.iterdir())
    return 0


def _shape(path: Path) -> dict[str, Any]:
    """Columns and rows of every table."""
    store = sqlite3.connect(path)
    try:
        tables = [name for (name,) in store.execute("select name from sqlite_master where type = 'table'")]
        columns = {name: [tuple(c) for c in store.execute(f"pragma table_info({name})")] for name in tables}
        counts = {name: store.execute(f"select count(*) from {name}").fetchone() for name in tables}
        version = store.execute("select version_num from alembic_version").fetchall()
    finally:
        store.close()
    return {name: (columns[name], counts[name]) for name in tables} | {"version": version}
