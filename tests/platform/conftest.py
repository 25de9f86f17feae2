"""Finished tiny runs, and running MLflow servers."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from runs import SEQUENCE, SMOKE, MakeRun, new_run, tracked_copy
from searches import prepare_search
from servers import Server

import frisket
from frisket.files import write_sealed
from frisket.platform.executors import local
from frisket.platform.run.engine import run_replica
from frisket.platform.run.folder import RunFolder
from frisket.platform.tables.reproduction import Reproduction


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A finished run of two variants, two seeds each. Not to be changed: copy it with `finished_run`."""
    folder = new_run(tmp_path_factory.mktemp("runs"), "sqlite:///nowhere.db")
    for replica in folder.experiment.replicas():
        run_replica(folder, replica)
    return folder


@pytest.fixture(scope="session")
def sequence(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A finished run over three tasks: two methods that keep a mask for each, one that does not. Not to be changed."""
    folder = new_run(tmp_path_factory.mktemp("runs"), "sqlite:///nowhere.db", **SEQUENCE)
    for replica in folder.experiment.replicas():
        run_replica(folder, replica)
    return folder


@pytest.fixture
def finished_run(finished: RunFolder, tmp_path: Path) -> MakeRun:
    """``(uri, name=..., register=...)`` to a copy of `finished` which is tracked there."""

    def copy(uri: str, name: str = "tiny/pair", register: bool = True) -> RunFolder:
        return tracked_copy(finished, tmp_path / "runs", uri, name, register=register)

    return copy


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A running server, shared; give every test's experiment a name of its own."""
    server = Server(tmp_path_factory.mktemp("mlflow"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Server]:
    """A running server of the test's own, which it may kill and start again."""
    server = Server(tmp_path)
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="session")
def small_table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs folder of a finished reproduction, two rows of one column. Not to be changed: copy it."""
    runs = tmp_path_factory.mktemp("table") / "runs"
    frisket.reproduce("lamaml/table1", **SMOKE, seeds=2, local=True, runs_dir=runs)
    return runs


@pytest.fixture
def copied(small_table: Path, workplace: Path) -> Path:
    """A copy of `small_table` in the working folder, whose report goes beside it."""
    shutil.copytree(small_table, workplace / "frisket_runs")
    (reproduction,) = Reproduction.all(workplace / "frisket_runs")
    uri = f"sqlite:///{workplace}/mlflow.db"
    tracking = reproduction.manifest["tracking"] | {"uri": uri}
    changes = {"out": str(reproduction.path), "tracking": tracking}
    write_sealed(reproduction.path / "reproduction.json", reproduction.manifest | changes)
    for run in RunFolder.all(workplace / "frisket_runs"):
        tracking = run.manifest["tracking"] | {"uri": uri}
        write_sealed(run.path / "run.json", run.manifest | {"tracking": tracking, "register": False})
    return workplace / "frisket_runs"


@pytest.fixture(scope="session")
def finished_search(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A finished search of four points, two seeds each, run in this process. Not to be changed."""
    folder = prepare_search(tmp_path_factory.mktemp("search"), tracking="sqlite:///nowhere.db")
    local.execute(folder, data_dir=None, stop=lambda: False)
    return folder
