"""The command line on real data: a short run with every test run, the issue's own command among the slow ones."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from frisket.envs.data import load
from frisket.errors import DataError

DOMAINS = ("omniglot", "mnist", "fashion_mnist")
SHARED = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture
def real_data(monkeypatch: pytest.MonkeyPatch) -> str:
    """A folder with the real data sets."""
    folder = os.environ.get("FRISKET_DATA") or str(SHARED)
    try:
        for name in DOMAINS:
            load(name, folder if Path(folder).is_dir() else None)
    except DataError as error:
        pytest.skip(f"real data absent (set FRISKET_DATA): {error}")
    return folder


def real_run(frisket: Callable[..., CompletedProcess[str]], workplace: Path, data: str, *arguments: str) -> dict:
    done = frisket(
        "run",
        "osaka/p98-sparse-cmaml",
        *arguments,
        "--seeds",
        "1",
        "--data",
        "real",
        "--data-dir",
        data,
        "--json",
        "o.json",
    )
    assert done.returncode == 0, done.stderr
    return json.loads((workplace / "o.json").read_text())


def test_a_short_real_run(frisket: Callable[..., CompletedProcess[str]], workplace: Path, real_data: str) -> None:
    """60 steps, 8 filters, in this process alone; far above chance, and it says which data made it."""
    short = ("stream.steps=60", "learner.inner_steps=4", "network.channels=8", "--local")
    result = real_run(frisket, workplace, real_data, *short)
    assert result["data"]["mode"] == "real"
    assert {s["kind"] for s in result["data"]["sets"].values()} == {"real"}
    assert result["summary"]["accuracy"]["mean"] > 0.3  # chance: 0.1


@pytest.mark.slow
@pytest.mark.process
def test_the_full_network_on_real_data(
    frisket: Callable[..., CompletedProcess[str]], workplace: Path, real_data: str
) -> None:
    """100 steps of the 64-filter network through Ray and MLflow, registered."""
    result = real_run(frisket, workplace, real_data, "stream.steps=100", "learner.inner_steps=4")
    assert result["summary"]["accuracy"]["mean"] > 0.5
    assert 0.4 < result["results"][0]["sparsity"]["overall"] < 0.6
    assert result["mlflow"]["version"] == "1"
