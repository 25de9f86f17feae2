"""The doctor's rows, for a machine that is fit and for one that is not."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from frisket.platform import doctor
from frisket.platform.cli.main import main


def rows(check: Callable[[], Iterator[doctor.Check]]) -> dict[str, doctor.Check]:
    return {row.what: row for row in check()}


@pytest.mark.process
def test_this_machine_is_fit(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json", "doctor.json"]) == 0
    found = {row["what"]: row for row in json.loads((workplace / "doctor.json").read_text())}
    assert found["ray"]["status"] == "ok"
    assert {"python", "torch", "mlflow", "gpu", "disk for runs", "data mnist"} <= set(found)
    assert all(row["fix"] for row in found.values() if row["status"] != "ok")
    assert "fit to run experiments" in capsys.readouterr().out


def test_versions_are_held_against_pins() -> None:
    assert doctor.pins()["torch"] == "2.13.0"
    found = {row.what: row for row in doctor.packages({"numpy": "0.1"})}
    assert found["numpy"].status == "warn"
    assert "tested with 0.1" in found["numpy"].fix
    assert found["safetensors"].status == "ok"


def test_broken_store_and_absent_server_are_warnings(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert rows(doctor.mlflow)["mlflow"].found.endswith("will be made by the first run")
    (workplace / "mlflow.db").write_bytes(b"no database" * 100)
    assert rows(doctor.mlflow)["mlflow"].status == "warn"
    (workplace / "mlflow.db").unlink()
    with sqlite3.connect(workplace / "mlflow.db") as store:
        store.execute("create table runs (id int)")
    store.close()
    assert rows(doctor.mlflow)["mlflow"].found.endswith("0 runs")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://someone:secret@127.0.0.1:9")
    absent = rows(doctor.mlflow)["mlflow"]
    assert absent.status == "warn"
    assert "frisket sync" in absent.fix
    assert "secret" not in absent.found


def test_check_that_breaks_is_a_row() -> None:
    def torch() -> Iterator[doctor.Check]:
        raise ImportError("libcudart is missing")
        yield

    (row,) = doctor.examine([torch])
    assert (row.what, row.status) == ("torch", "fail")
    assert "libcudart" in row.found
