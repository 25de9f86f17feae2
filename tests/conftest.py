"""What tests in every folder share: the checkout, a run of seconds, one Ray cluster for the whole session."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from wheels import build_wheel

Frisket = Callable[..., subprocess.CompletedProcess[str]]
_PERSONAL = ("FRISKET_RUNS", "MLFLOW_TRACKING_URI", "RAY_ADDRESS")


@pytest.fixture(scope="session")
def checkout() -> Path:
    """The repository's root."""
    return Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def tiny_spec(checkout: Path) -> str:
    """Path of a specification that runs in seconds."""
    return str(checkout / "tests" / "data" / "tiny.yaml")


@pytest.fixture(scope="session")
def wheel(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of the checkout."""
    return build_wheel(checkout, tmp_path_factory.mktemp("wheel"))


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder; runs and the MLflow store land in it."""
    for name in _PERSONAL:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def environment(checkout: Path) -> dict[str, str]:
    """For processes that run the checkout's frisket from any folder."""
    inherited = {name: value for name, value in os.environ.items() if name not in _PERSONAL}
    return inherited | {"PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}


@pytest.fixture
def frisket(workplace: Path, environment: dict[str, str]) -> Frisket:
    """``frisket(*arguments)``: the command line in a process of its own, in `workplace`."""

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "frisket", *arguments]
        return subprocess.run(command, cwd=workplace, env=environment, capture_output=True, text=True, timeout=240)

    return call


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """A private Ray cluster in which every test of the session runs its workers; one that exports metrics."""
    from frisket.platform.cluster.session import ray_session

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_enable_metrics_collection", "1")
        with ray_session(cpus=2):
            yield
