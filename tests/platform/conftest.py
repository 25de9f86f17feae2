"""Finished tiny runs, and real MLflow servers on the loopback."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from frisket.envs.data import resolve
from frisket.platform.cli.ui import server_command
from frisket.platform.engine import datasets, run_replica
from frisket.platform.runfolder import RunFolder, write_json
from frisket.platform.spec import from_dict

TINY: dict[str, Any] = {
    "name": "tiny/pair",
    "stream": {"p": 0.8, "steps": 30, "shots": 1},
    "network": {"channels": 2},
    "learner": {"kind": "sparse-cmaml", "inner_steps": 1},
    "seeds": 2,
    "log_every": 5,
    "variants": {"sparse": {}, "fixed": {"learner": {"kind": "cmaml-fixed", "inner_steps": 1}}},
}


def new_run(parent: Path, uri: str, *, register: bool = True, **fields: Any) -> RunFolder:
    """A run folder on embedded data, nothing run yet."""
    experiment = from_dict(TINY | fields)
    data = resolve(datasets(experiment), "embedded")
    provenance = {name: images.provenance.as_dict() for name, images in data.items()}
    tracking = {"uri": uri, "experiment": f"frisket/{experiment.name}"}
    return RunFolder.create(
        parent, experiment, data_mode="embedded", data=provenance, register=register, tracking=tracking
    )


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A finished run of two variants, two seeds each. Not to be changed: copy it with `finished_run`."""
    folder = new_run(tmp_path_factory.mktemp("runs"), "sqlite:///nowhere.db")
    for replica in folder.experiment.replicas():
        run_replica(folder, replica)
    return folder


MakeRun = Callable[..., RunFolder]


@pytest.fixture
def finished_run(finished: RunFolder, tmp_path: Path) -> MakeRun:
    """``(uri, name=..., register=...)`` to a copy of `finished` which is tracked there."""

    def copy(uri: str, name: str = "tiny/pair", register: bool = True) -> RunFolder:
        run_id = f"{name.replace('/', '-')}-{time.time_ns()}"
        path = tmp_path / "runs" / run_id
        shutil.copytree(finished.path, path)
        manifest = json.loads((path / "run.json").read_text())
        tracking = {"uri": uri, "experiment": f"frisket/{name}"}
        manifest |= {"run_id": run_id, "spec": name, "register": register, "tracking": tracking}
        write_json(path / "run.json", manifest)
        return RunFolder.open(path)

    return copy


class Server:
    """An MLflow server on the loopback, on a port of its own, with its store in ``folder``."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self._command = server_command(f"sqlite:///{folder / 'mlflow.db'}", self.port)
        self._log = folder / "server.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start and wait until it answers."""
        environment = {
            **os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"
        }  # fmt: skip
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdout=log, stderr=log, env=environment, start_new_session=True
            )
        for _ in range(600):
            try:
                with urllib.request.urlopen(f"{self.uri}/health", timeout=1):
                    return
            except OSError:
                time.sleep(0.1)
            if self._process.poll() is not None:
                break
        raise RuntimeError(f"the MLflow server did not start: {self._log.read_text()[-2000:]}")

    def kill(self) -> None:
        """SIGKILL to the server and its workers (its own session; nothing else is in it)."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


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
