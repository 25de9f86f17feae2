"""Reproductions against real MLflow stores, on Ray, and killed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient
from processes import wait_for

from frisket.platform.cli.main import main
from frisket.platform.cli.sync import sync
from frisket.platform.run.folder import RunFolder
from frisket.platform.tables.reproduction import Reproduction
from frisket.platform.tracking.reproduction import send, sent
from frisket.platform.verbs import reproduce

pytestmark = pytest.mark.process


def test_table_is_sent_once_however_often(copied: Path, workplace: Path) -> None:
    (reproduction,) = Reproduction.all(copied)
    assert not sent(reproduction)
    sync()  # the cells' runs, and the table
    assert sent(reproduction)
    (reproduction.path / "sent.json").unlink()  # as if no acknowledgement had arrived
    assert send(reproduction).complete
    client = MlflowClient(f"sqlite:///{workplace}/mlflow.db")
    experiment = client.get_experiment_by_name("frisket/reproduce/lamaml/table1")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.status, run.info.run_name) == ("FINISHED", reproduction.run_id)
    made = json.loads((reproduction.path / "lamaml-table1.json").read_text())
    assert made["mlflow"]["run_id"] == run.info.run_id
    line = made["comparison"][0]
    assert run.data.metrics["Online/rotations/ra"] == line["ours"]["mean"]
    assert run.data.metrics["Online/rotations/ra/published"] == 0.5338
    assert run.data.metrics["Online/rotations/ra/difference"] == pytest.approx(line["difference"])
    assert run.data.metrics["verdicts/no verdict"] == 4
    assert len(client.get_metric_history(run.info.run_id, "Online/rotations/ra")) == 1
    assert run.data.params == {"table": "lamaml/table1", "scale": "smoke", "data": "embedded", "cells": "2"}
    assert "| La-MAML | rotations | RA |" in run.data.tags["mlflow.note.content"]
    for cell in made["cells"]:
        assert cell["run"] in run.data.tags["frisket.runs"]
    files = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert files == {"lamaml-table1.md", "lamaml-table1.json", "lamaml-table1.png"}


@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_on_ray_and_into_mlflow_in_one_go(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--rows", "Online", "--columns", "rotations", "--scale", "smoke", "--data", "embedded", "--seeds", "2"]
    assert main(["reproduce", "lamaml/table1", *arguments, "--json", "out.json"]) == 0
    made = json.loads((workplace / "out.json").read_text())
    assert [r["seed"] for r in made["results"]] == [0, 1]
    client = MlflowClient(made["mlflow"]["tracking_uri"])
    assert client.get_run(made["mlflow"]["run_id"]).info.status == "FINISHED"
    cell = client.get_experiment_by_name("frisket/replay/rotations-online")
    assert cell is not None
    assert len(client.search_runs([cell.experiment_id])) == 3  # the cell's run and its two seeds
    assert client.search_registered_models() == []  # below paper scale, unless asked
    assert "is not reachable" not in capsys.readouterr().err


def test_mlflow_away_costs_one_warning(
    copied: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")  # the discard port: nobody listens
    table = reproduce.start("lamaml/table1", rows=["Online"], columns=["rotations"], scale="smoke", seeds=2,
                            data="embedded", reuse=True)  # fmt: skip
    summary = reproduce.execute(table)
    assert summary["cells"][0]["state"] == "done"
    assert capsys.readouterr().err.count("is not reachable") == 1
    assert not sent(table)


def test_killed_driver_repeats_no_finished_cell(workplace: Path, environment: dict[str, str]) -> None:
    """kill -9 in the second cell, then --resume: the first cell's files are as they were, the second is finished."""
    command = [sys.executable, "-m", "frisket", "reproduce", "lamaml/table1", "--rows", "Online,La-MAML", "--columns",
               "rotations", "--scale", "short", "--seeds", "1", "--data", "embedded", "--local"]  # fmt: skip
    driver = subprocess.Popen(command, cwd=workplace, env=environment, stderr=subprocess.DEVNULL)
    runs = workplace / "frisket_runs"
    wait_for(lambda: any(runs.glob("replay-rotations-la-maml-*/replicas/*/progress.json")))
    driver.kill()
    driver.wait()
    (reproduction,) = Reproduction.all(runs)
    first, second = reproduction.run_of(0), reproduction.run_of(1)
    assert first is not None
    assert second is not None
    assert first.done
    assert not second.done, "killed too late to prove anything"
    stamps = {file: file.stat().st_mtime_ns for file in first.path.rglob("*")}
    assert main(["reproduce", "--resume", "last", "--local"]) == 0
    assert {file: file.stat().st_mtime_ns for file in first.path.rglob("*")} == stamps
    assert second.done
    assert sorted(run.run_id for run in RunFolder.all(runs)) == sorted([first.run_id, second.run_id])
