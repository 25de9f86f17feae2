"""Python and the command line take the same road: the same things are refused with the same error; rows of results."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest
from judged import compared
from made import PLAIN, made_run
from runs import MakeRun

import frisket
from frisket.errors import RunError, SpecError
from frisket.platform.cli.main import main
from frisket.platform.reports.rows import as_csv, number_rows, replica_rows


@pytest.fixture
def there(workplace: Path) -> Path:
    made_run(workplace / "frisket_runs", "there", {"accuracy": {0: 0.5, 1: 0.7}})
    return workplace


@pytest.mark.parametrize(
    ("asked", "words", "said"),
    [
        ({"seeds": 3}, ["--seeds", "3"], "leave seeds out"),
        ({"run_id": "other"}, ["--run-id", "other"], "leave run_id out"),
        ({"data": "real"}, ["--data", "real"], "this run is on embedded data; leave data out"),
        ({"spec": "demo"}, ["demo"], "is a run of tiny/plain, not of demo"),
    ],
)
def test_a_resumed_run_keeps_what_it_is(
    asked: dict[str, Any], words: list[str], said: str, there: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(RunError, match=said) as raised:
        frisket.run(resume="there", local=True, **asked)
    assert raised.value.field == "resume"
    assert main(["run", *words, "--resume", "there", "--local"]) == 2
    assert capsys.readouterr().err == f"frisket: --{raised.value}\n"


def test_what_a_killed_driver_left_for_its_workers_goes_with_the_next(finished_run: MakeRun) -> None:
    folder = finished_run("sqlite:///nowhere.db")
    left = [folder.path / name for name in ("stop", "error.json")]
    for path in left:
        path.write_text("{}", encoding="utf-8")
    frisket.run(resume=str(folder.path), local=True)
    assert [path for path in left if path.exists()] == []


def test_overrides_of_a_resumed_run_are_refused(there: Path) -> None:
    with pytest.raises(RunError, match="leave overrides and seeds out"):
        frisket.run("tiny/plain", ["stream.p=0.5"], seeds=1, resume="there")
    with pytest.raises(RunError, match="frisket run --resume there"):
        frisket.tune(resume="there")


def test_a_run_can_be_named_from_python(there: Path) -> None:
    with pytest.raises(RunError, match="of another specification") as raised:
        frisket.run(PLAIN | {"seeds": 3}, run_id="there", local=True)
    assert raised.value.field == "run_id"
    with pytest.raises(RunError, match="of another specification or other data"):
        frisket.run(PLAIN | {"seeds": 2}, run_id="there", data="real", local=True)
    with pytest.raises(RunError, match="letters, digits"):
        frisket.run(PLAIN, run_id="../there")
    assert main(["run", "demo", "--run-id", "../there"]) == 2


@pytest.mark.parametrize(
    ("asked", "words", "said"),
    [
        ({"rows": ["MER"]}, ["--rows", "MER"], "leave rows out"),
        ({"scale": "paper", "reuse": True}, ["--scale", "paper", "--reuse"], "leave scale and reuse out"),
        ({"data": "real", "out": "x"}, ["--data", "real", "--out", "x"], "leave data and out out"),
        ({"register": False}, ["--no-register"], "leave register out"),
    ],
)
def test_a_resumed_reproduction_goes_on_as_it_began(
    asked: dict[str, Any], words: list[str], said: str, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(RunError, match=said) as raised:
        frisket.reproduce(resume="last", **asked)
    assert main(["reproduce", *words, "--resume", "last"]) == 2
    assert capsys.readouterr().err == f"frisket: --{raised.value}\n"


def test_what_is_required_is_said_alike(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for verb, field in ((frisket.run, "SPEC"), (frisket.tune, "SPEC"), (frisket.reproduce, "TABLE")):
        with pytest.raises(SpecError, match=f"{field} = None: is required"):
            verb()
        assert main([verb.__name__]) == 2
        assert f"{field} = None: is required" in capsys.readouterr().err


def test_rows_of_a_run_are_its_replicas(there: Path) -> None:
    variants = {"a": {}, "b": {"learner": {"kind": "cmaml"}}}
    values = {"accuracy": {0: 0.5, 1: None}}
    folder = made_run(there, "half", values, others={"b": {"ra": {0: 0.25, 1: 0.75}}}, variants=variants)
    rows = list(csv.DictReader(io.StringIO(as_csv(replica_rows(folder)))))
    assert [(row["variant"], row["seed"], row["accuracy"], row["ra"]) for row in rows] == [
        ("a", "0", "0.5", ""), ("b", "0", "", "0.25"), ("b", "1", "", "0.75")
    ]  # fmt: skip
    assert rows[0] | {"accuracy": ""} == {
        "run": "half", "spec": "tiny/plain", "data": "embedded", "variant": "a", "seed": "0", "seconds": "2.0",
        "stopped": "", "accuracy": "", "ra": "", "sparsity/conv1.weight": "0.25", "config.learner.inner_steps": "1",
    }  # fmt: skip


def test_rows_of_a_reproduction_are_its_numbers(tmp_path: Path) -> None:
    _, lines = compared(tmp_path, "lamaml/table1", {"La-MAML": {"ra": 0.7742, "bti": -0.05}}, columns=["rotations"])
    rows = list(csv.DictReader(io.StringIO(as_csv(number_rows(lines)))))
    ra = next(row for row in rows if row["metric"] == "ra")
    assert (ra["row"], ra["column"], ra["verdict"], ra["ours_n"]) == ("La-MAML", "rotations", "match", "5")
    assert float(ra["published_mean"]) == float(ra["ours_mean"]) == pytest.approx(0.7742)
    assert float(ra["difference"]) == pytest.approx(0, abs=1e-12)
