"""``frisket runs`` and `frisket.runs`: every run folder is a line, damaged ones too."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
from made import made_run
from runs import MakeRun

import frisket
from frisket.errors import RunError, SpecError
from frisket.files import lock, write_sealed
from frisket.platform.cli.main import main
from frisket.platform.run.folder import RunFolder

pytestmark = pytest.mark.usefixtures("workplace")

SEARCH = {"axes": {"learner.inner_steps": [1, 2]}}


@pytest.fixture
def runs_folder(workplace: Path) -> Path:
    """A finished run, a stopped one, a finished search, and three damaged folders."""
    parent = workplace / "frisket_runs"
    days = iter(range(1, 10))

    def dated(run: RunFolder) -> None:
        changes = {"created": f"2026-01-{next(days):02d}T12:00:00+00:00"}
        write_sealed(run.path / "run.json", run.manifest | changes)

    dated(made_run(parent, "finished", {"accuracy": {0: 0.5, 1: 0.7}}, name="osaka/one", mode="real"))
    dated(made_run(parent, "half", {"accuracy": {0: 0.5, 1: None, 2: None}}))
    best = {"inner_steps=2": {"accuracy": {0: 0.9}}}
    dated(made_run(parent, "search", {"accuracy": {0: 0.2}}, others=best, name="tiny/search", tune=SEARCH))
    (parent / "cut-short" / "replicas" / "seed0").mkdir(parents=True)
    (parent / "torn").mkdir()
    (parent / "torn" / "run.json").write_text('{"run_id": "to')
    (parent / "foreign").mkdir()
    (parent / "foreign" / "run.json").write_text('{"name": "something else"}')
    (parent / "reproduce-lamaml-table1").mkdir()
    (parent / "reproduce-lamaml-table1" / "reproduction.json").write_text("{}")
    return parent


def test_a_run_that_lost_a_replica_is_not_done(finished_run: MakeRun) -> None:
    folder = finished_run("sqlite:///nowhere.db")
    (before,) = frisket.runs(runs_dir=folder.path.parent)
    shutil.rmtree(folder.replicas()[0].path)
    (after,) = frisket.runs(runs_dir=folder.path.parent)
    assert (before["state"], before["finished"], before["replicas"]) == ("done", 4, 4)
    assert (after["state"], after["finished"], after["replicas"], after["mean"]) == ("stopped", 3, 4, None)


def test_every_run_is_told_of_newest_first(runs_folder: Path) -> None:
    found = frisket.runs()
    assert [run["run"] for run in found] == ["search", "half", "finished", "cut-short", "foreign", "torn"]
    assert [run["state"] for run in found] == ["done", "stopped", "done", *["damaged"] * 3]
    search, half, finished, cut_short, foreign, torn = found
    assert {k: finished[k] for k in ("spec", "data", "kind", "seeds", "finished", "replicas", "seconds")} == {
        "spec": "osaka/one", "data": "real", "kind": "run", "seeds": 2, "finished": 2, "replicas": 2, "seconds": 4.0
    }  # fmt: skip
    assert (finished["metric"], finished["n"]) == ("accuracy", 2)
    assert (finished["mean"], finished["std"]) == pytest.approx((0.6, 0.1))
    assert (half["finished"], half["replicas"], half["mean"], half["metric"]) == (1, 3, None, "accuracy")
    assert (search["kind"], search["mean"], search["replicas"]) == ("search", 0.9, 2)
    assert cut_short["problem"] == "run.json is missing"
    assert "is not JSON" in torn["problem"]
    assert "carries no digest of its content" in foreign["problem"]
    assert Path(torn["path"]) == runs_folder / "torn"


def test_a_run_whose_lock_is_held_is_running(runs_folder: Path) -> None:
    with lock(runs_folder / "half" / "replicas" / "seed1" / ".lock"):
        assert [run["run"] for run in frisket.runs(state="running")] == ["half"]
    assert not frisket.runs(state="running")


def test_filters(runs_folder: Path) -> None:
    def names(**asked: str) -> list[str]:
        return [run["run"] for run in frisket.runs(**asked)]  # pyright: ignore[reportArgumentType]

    assert names(spec="tiny/*") == ["search", "half"]
    assert names(spec="tiny/s*", state="done") == ["search"]
    assert names(data="real") == ["finished"]
    assert names(since="2026-01-02T11:00:00+00:00") == ["search", "half"]
    assert names(since="30min") == []
    assert names(state="damaged") == ["cut-short", "foreign", "torn"]
    with pytest.raises(SpecError, match=r"since = 'yesterday'.*7d"):
        names(since="yesterday")
    with pytest.raises(SpecError, match="must be one of done, running, stopped, damaged"):
        names(state="lost")
    with pytest.raises(RunError, match="no such folder"):
        frisket.runs(runs_dir="nowhere")


def test_command_line_writes_lines_json_and_csv(
    runs_folder: Path, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["runs", "--json", "runs.json", "--csv", "runs.csv"]) == 0
    out, err = capsys.readouterr()
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert list(lines) == ["run", "search", "half", "finished", "cut-short", "foreign", "torn"]
    assert "stopped 1 of 3" in lines["half"]
    assert "accuracy 0.600 ± 0.100" in lines["finished"]
    assert "damaged: run.json is missing" in lines["cut-short"]
    assert err == ""
    assert json.loads((workplace / "runs.json").read_text()) == frisket.runs()
    with (workplace / "runs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["run"] for row in rows] == list(lines)[1:]
    assert (rows[2]["mean"], rows[1]["mean"], rows[3]["problem"]) == ("0.6", "", "run.json is missing")


def test_nothing_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs"]) == 0
    assert capsys.readouterr() == ("", "no such runs in frisket_runs\n")
    assert main(["runs", "--runs-dir", "nowhere"]) == 2
    assert main(["runs", "--csv", "no/such/x.csv"]) == 2


def test_a_damaged_folder_is_in_nobodys_way(runs_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert [folder.run_id for folder in RunFolder.all(runs_folder)] == ["finished", "half", "search"]
    assert RunFolder.find("last", runs_folder).run_id == "search"
    assert main(["compare", "torn", "finished"]) == 2
    assert "Traceback" not in capsys.readouterr().err
