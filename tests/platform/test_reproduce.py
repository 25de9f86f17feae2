"""Reproductions: run, stopped, resumed, reused, judged; small ones on embedded digits, or with results made by hand."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from judged import compared
from PIL import Image
from runs import SMOKE

from frisket.errors import RunError, SpecError, Stopped
from frisket.files import write_sealed
from frisket.platform.cli.main import main
from frisket.platform.reports.reproduction import as_json, as_markdown, commit_text
from frisket.platform.run.folder import RunFolder
from frisket.platform.run.progress import Snapshot
from frisket.platform.tables.comparison import counts
from frisket.platform.tables.reproduction import Reproduction
from frisket.platform.tables.table import PlannedCell, load_table, plan
from frisket.platform.verbs import reproduce


def test_cells_are_ordinary_runs_and_the_report_tells_of_them(small_table: Path) -> None:
    (reproduction,) = Reproduction.all(small_table)
    runs = RunFolder.all(small_table)
    assert reproduction.done
    assert sorted(run.manifest["spec"] for run in runs) == ["replay/rotations-la-maml", "replay/rotations-online"]
    assert all(run.done and (run.path / "figures" / "matrix.png").is_file() for run in runs)
    assert not any(run.manifest["register"] for run in runs)
    assert {path.name for path in reproduction.path.iterdir() if path.suffix != ".json" or "table" in path.name} >= {
        "lamaml-table1.md", "lamaml-table1.json", "lamaml-table1.png"
    }  # fmt: skip

    made = json.loads((reproduction.path / "lamaml-table1.json").read_text())
    assert (made["table"], made["scale"], made["data"]["mode"]) == ("lamaml/table1", "smoke", "embedded")
    assert [(r["row"], r["column"], r["seed"]) for r in made["results"]] == [
        ("Online", "rotations", 0), ("Online", "rotations", 1), ("La-MAML", "rotations", 0), ("La-MAML", "rotations", 1)
    ]  # fmt: skip
    scores = [r["metrics"]["ra"] for r in made["results"] if r["row"] == "La-MAML"]
    line = next(c for c in made["comparison"] if (c["row"], c["metric"]) == ("La-MAML", "ra"))
    assert line["published"] == {"mean": 0.7742, "std": 0.0065, "n": 5}
    assert line["ours"] == pytest.approx({"mean": sum(scores) / 2, "std": abs(scores[0] - scores[1]) / 2, "n": 2})
    assert line["difference"] == pytest.approx(sum(scores) / 2 - 0.7742)
    assert (line["verdict"], line["reason"]) == (None, "smoke scale")
    assert made["summary"]["La-MAML/rotations/ra"] == line["ours"]
    assert made["verdicts"] == {"no verdict": 4}
    assert made["mlflow"]["run_id"] is None

    text = (reproduction.path / "lamaml-table1.md").read_text()
    command = "frisket reproduce lamaml/table1 --rows Online,La-MAML --columns rotations --scale smoke"
    assert f"    {command} --data embedded --seeds 2\n" in text
    assert "| La-MAML | rotations | RA | 77.42 ± 0.65 | " in text
    assert text.count("| no verdict: smoke scale |") == 4
    smaller = "stream.tasks=2 stream.samples=40 stream.test_samples=100"
    assert f"| `frisket run replay/rotations-la-maml {smaller} --seeds 2 --data embedded` |" in text
    for run in runs:
        assert run.run_id in text
    with Image.open(reproduction.path / "lamaml-table1.png") as picture:
        colours = picture.convert("RGB").getcolors(1 << 24)
    assert colours is not None
    assert {(0, 114, 178), (213, 94, 0)} <= {colour for _, colour in colours}  # published and ours


def test_stopped_and_resumed_repeats_no_finished_cell(workplace: Path) -> None:
    reproduction = reproduce.start("lamaml/table1", **SMOKE)
    runs = workplace / "frisket_runs"

    def second_has_begun() -> bool:
        return len(RunFolder.all(runs)) == 2

    with pytest.raises(Stopped):
        reproduce.execute(reproduction, local=True, stop=second_has_begun)
    first = reproduction.run_of(0)
    assert first is not None
    assert first.done
    assert not reproduction.done
    made = json.loads((reproduction.path / "lamaml-table1.json").read_text())
    assert [cell["state"] for cell in made["cells"]] == ["done", "not run"]
    stamps = {file: file.stat().st_mtime_ns for file in first.path.rglob("*")}

    assert main(["reproduce", "--resume", "last", "--local"]) == 0
    assert {file: file.stat().st_mtime_ns for file in first.path.rglob("*") if file in stamps} == stamps
    assert len(RunFolder.all(runs)) == 2
    again = reproduce.reopen("last")
    assert again.done
    made = json.loads((again.path / "lamaml-table1.json").read_text())
    assert [cell["state"] for cell in made["cells"]] == ["done", "done"]


def test_a_cell_prepared_but_not_begun_is_taken_up(workplace: Path) -> None:
    """Killed between the making of a run's folder and its first step."""
    reproduction = reproduce.start("lamaml/table1", **dict(SMOKE, rows=["Online"]))
    with pytest.raises(Stopped):
        reproduce.execute(reproduction, local=True, stop=lambda: True)
    run = reproduction.run_of(0)
    assert run is not None
    assert not run.done
    summary = reproduce.execute(reproduce.reopen(reproduction.run_id), local=True)
    assert summary["cells"][0]["run"] == run.run_id
    assert [r["seed"] for r in summary["results"]] == [0]


def test_finished_runs_are_reused_when_asked(copied: Path) -> None:
    before = RunFolder.all(copied)
    again = reproduce.start("lamaml/table1", **SMOKE, seeds=2, reuse=True)
    summary = reproduce.execute(again, local=True)
    assert [cell["reused"] for cell in summary["cells"]] == [True, True]
    assert [run.run_id for run in RunFolder.all(copied)] == [run.run_id for run in before]
    assert "(reused)" in (again.path / "lamaml-table1.md").read_text()

    other = reproduce.start("lamaml/table1", **dict(SMOKE, rows=["Online"]), seeds=1, reuse=True)
    summary = reproduce.execute(other, local=True)
    assert [cell["reused"] for cell in summary["cells"]] == [False]
    assert len(RunFolder.all(copied)) == len(before) + 1


def test_a_run_of_another_version_is_not_reused(copied: Path) -> None:
    for run in RunFolder.all(copied):
        write_sealed(run.path / "run.json", run.manifest | {"frisket": "0.0.0"})
    cell = plan(load_table("lamaml/table1"), rows=["Online"], columns=["rotations"], scale="smoke", seeds=2)[0]
    assert reproduce.launch.finished_run(cell.spec, cell.overrides, seeds=2, data="embedded") is None


def test_a_run_of_a_field_that_is_no_more_is_not_reused(copied: Path) -> None:
    for run in RunFolder.all(copied):
        run.manifest["experiment"]["learner"]["no_such_field"] = 1
        write_sealed(run.path / "run.json", run.manifest)
    cell = plan(load_table("lamaml/table1"), rows=["Online"], columns=["rotations"], scale="smoke", seeds=2)[0]
    assert reproduce.launch.finished_run(cell.spec, cell.overrides, seeds=2, data="embedded") is None


@pytest.mark.parametrize(
    ("git", "text"), [(None, ""), ("a" * 40, "aaaaaaaaaaaa"), ("a" * 40 + "+", "aaaaaaaaaaaa+"), ("v1", "v1")]
)
def test_a_report_says_when_a_commit_had_changes(git: str | None, text: str) -> None:
    assert commit_text(git) == text


def test_two_processes_cannot_work_on_one(copied: Path) -> None:
    reproduction = reproduce.reopen("last")
    with reproduction.lock(), pytest.raises(RunError, match="another process"):
        reproduce.execute(Reproduction(reproduction.path), local=True)


# -- results made by hand, judged --------------------------------------------------------------------------------------


def judged(parent: Path, table: str, means: dict[str, dict[str, float]], **asked: Any) -> dict[tuple[str, str], str]:
    """(row, metric) to verdict, of results made by hand."""
    _, lines = compared(parent, table, means, **asked)
    return {(line.row, line.metric): line.verdict_text for line in lines}


def test_verdicts_of_a_whole_reproduction(tmp_path: Path) -> None:
    """Of La-MAML (0.7742, -0.0864) 1.5 points count; of MER two standard errors, sqrt(0.0078^2 / 5 + 0.8e-4 / 4)."""
    means = {"MER": {"ra": 0.7742 + 0.012, "bti": -0.056}, "La-MAML": {"ra": 0.7742 + 0.0149, "bti": -0.0864 - 0.0151}}
    assert judged(tmp_path, "lamaml/table1", means, columns=["rotations"]) == {
        ("MER", "ra"): "better", ("MER", "bti"): "match", ("La-MAML", "ra"): "match", ("La-MAML", "bti"): "miss"
    }  # fmt: skip


def test_a_verdict_on_searched_settings_says_so(tmp_path: Path) -> None:
    """Sync's rates on permutations were searched, La-MAML's and Sync's on rotations are printed."""
    published = {"Sync": {"ra": 0.7054, "bti": -0.1402 - 0.03}, "La-MAML": {"ra": 0.7434, "bti": -0.076}}
    reproduction, lines = compared(tmp_path, "lamaml/table1", published, columns=["permutations"])
    sync = next(line for line in lines if (line.row, line.metric) == ("Sync", "ra"))
    assert sync.searched == ("learner.alpha_init", "learner.alpha_lr")
    assert counts(lines) == {"match": 2, "match (searched settings)": 1, "miss (searched settings)": 1}
    assert "| Sync | permutations | RA | 70.54 ± 1.54 | 70.54 ± 0.89 | 5 | +0.00 | match (searched settings) |" in (
        as_markdown(reproduction, lines)
    )
    made = as_json(reproduction, lines)
    assert made["verdicts"] == counts(lines)
    assert [row["searched"] for row in made["comparison"]] == [["learner.alpha_init", "learner.alpha_lr"]] * 2 + [
        []
    ] * 2
    at_rotations = judged(tmp_path / "rotations", "lamaml/table1", {"Sync": {"ra": 0.7407}}, columns=["rotations"])
    assert at_rotations["Sync", "ra"] == "match"


def test_without_a_verdict_nothing_is_said_of_searched_settings(tmp_path: Path) -> None:
    means = {"Sync": {"ra": 0.7054, "bti": -0.1402}}
    said = judged(tmp_path, "lamaml/table1", means, columns=["permutations"], scale="short", seeds=5)
    assert said["Sync", "ra"] == "no verdict: short scale"


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"scale": "short", "seeds": 5}, "no verdict: short scale"),
        ({"kind": "embedded"}, "no verdict: embedded data"),
        ({"seeds": 4}, "no verdict: 4 of 5 seeds"),
        ({"seeds": 6}, "match"),
    ],
)
def test_a_verdict_needs_the_published_setting(asked: dict[str, Any], says: str, tmp_path: Path) -> None:
    means = {"La-MAML": {"ra": 0.7742, "bti": -0.0864}}
    assert judged(tmp_path, "lamaml/table1", means, columns=["rotations"], **asked)["La-MAML", "ra"] == says


def test_a_row_quoted_from_twenty_runs_needs_twenty(tmp_path: Path) -> None:
    means = {"BGD": {"accuracy": 0.634}, "sparse-C-MAML": {"accuracy": 0.863}}
    found = judged(tmp_path, "sparse/table6", means, columns=["p90"])
    assert found["BGD", "accuracy"] == "no verdict: 5 of 20 seeds"
    assert found["sparse-C-MAML", "accuracy"] == "match"


def test_of_table_2_only_the_ratio_is_judged(tmp_path: Path) -> None:
    means = {"La-MAML": {"seconds": 20.0}, "MER": {"seconds": 90.0}}
    found = judged(tmp_path, "lamaml/table2", means, columns=["rotations"])
    assert found["La-MAML", "seconds"] == "no verdict: depends on the machine; its ratio is judged"
    assert found["La-MAML : MER", "seconds ratio"] == "match"  # 0.222 against 0.211
    means["MER"]["seconds"] = 60.0
    assert judged(tmp_path, "lamaml/table2", means, columns=["rotations"])["La-MAML : MER", "seconds ratio"] == "miss"
    assert ("La-MAML : MER", "seconds ratio") not in judged(tmp_path, "lamaml/table2", {"MER": {"seconds": 60.0}})


def test_layer_sparsities_are_shown_without_a_verdict_but_the_overall_one_is_judged(tmp_path: Path) -> None:
    found = judged(tmp_path, "sparse/tableS5", {"La-MAML": {"sparsity": 0.19}}, columns=["rotations"])
    assert found["La-MAML", "sparsity"] == "match"
    assert found["La-MAML", "sparsity/fc1.weight"] == "no verdict: not measured"


# -- progress, mistakes ------------------------------------------------------------------------------------------------


def planned(row: str, column: str) -> PlannedCell:
    return PlannedCell(row=row, column=column, spec="s", overrides=(), seeds=1)


def test_time_left_goes_by_the_row_else_by_the_mean() -> None:
    spent = {("slow", "a"): 100.0, ("quick", "a"): 20.0}
    waiting = [planned("slow", "b"), planned("new", "a")]
    assert reproduce.seconds_left(waiting, spent, 5.0) == 5.0 + 100.0 + 60.0
    assert reproduce.seconds_left([], {}, 5.0) == 5.0
    assert reproduce.seconds_left(waiting, {}, 5.0) is None
    assert reproduce.seconds_left(waiting, spent, None) is None


def test_progress_says_where_in_the_table(copied: Path) -> None:
    for run in RunFolder.all(copied):  # as if killed before they were summed up, so that they are taken up again
        (run.path / "summary.json").unlink()
    said: list[str] = []

    def watch(run: RunFolder, workers: int, wording: reproduce.Wording) -> contextlib.nullcontext[None]:
        said.append(wording(Snapshot(done=0, replicas=1, cursor=4, steps=8, scores={"ra": 0.5}, seconds_left=30.0)))
        return contextlib.nullcontext()

    reproduce.execute(reproduce.reopen("last"), local=True, watch=watch)
    line = "replicas 0/1  steps 4/8  ra 0.500  30 s left"
    assert said[0] == f"cell 1/2 Online, rotations  {line}  table: 1 min 30 s left"  # the second will take 60 s too
    assert said[1] == f"cell 2/2 La-MAML, rotations  {line}  table: 30 s left"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["lamaml/tabel1"], ["TABLE", "did you mean 'lamaml/table1'"]),
        (["lamaml/table1", "--rows", "LaMAML"], ["rows", "did you mean 'La-MAML'"]),
        (["lamaml/table1", "--columns", "rotated"], ["columns", "'rotations'"]),
        (["lamaml/table1", "--columns", ","], ["columns", "at least one label"]),
        (["lamaml/table1", "--seeds", "0"], ["--seeds"]),
        (["lamaml/table1", "--scale", "tiny"], ["--scale"]),
        (["lamaml/table1", "--json", "no/such/x.json"], ["--json", "does not exist"]),
        (["lamaml/table1", "--data-dir", "nowhere"], ["nowhere"]),
        ([], ["TABLE", "is required"]),
        (["--resume", "last"], ["there are no reproductions"]),
        (["--resume", "last", "--rows", "MER"], ["--resume", "leave rows out"]),
    ],
)
def test_mistakes(arguments: list[str], said: list[str], workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    for part in said:
        assert part in err
    assert not list(workplace.iterdir())


def test_out_must_be_a_folder(workplace: Path) -> None:
    (workplace / "file").touch()
    with pytest.raises(SpecError, match="is a file"):
        reproduce.start("lamaml/table1", **SMOKE, out=Path("file"))


def test_resumed_as_another_table(copied: Path) -> None:
    with pytest.raises(RunError, match=r"is a reproduction of lamaml/table1, not of sparse/table5"):
        reproduce.reopen("last", table="sparse/table5")
    with pytest.raises(RunError, match="not a reproduction's folder"):
        Reproduction(copied)


def test_resumed_after_the_table_has_lost_a_cell(copied: Path) -> None:
    (reproduction,) = Reproduction.all(copied)
    reproduction.manifest["cells"][0]["cell"]["row"] = "Offline"
    write_sealed(reproduction.path / "reproduction.json", reproduction.manifest)
    with pytest.raises(RunError, match=r"no Offline, rotations any more; start anew with reuse"):
        reproduce.reopen("last")


def test_command_line_writes_where_it_is_told(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--rows", "online", "--columns", "rotations", "--scale", "smoke", "--data", "embedded", "--local"]
    assert main(["reproduce", "lamaml/table1", *arguments, "--json", "out.json", "--out", "report"]) == 0
    out, err = capsys.readouterr()
    assert {path.name for path in (workplace / "report").iterdir()} == {
        "lamaml-table1.md", "lamaml-table1.json", "lamaml-table1.png"
    }  # fmt: skip
    assert json.loads((workplace / "out.json").read_text()) == json.loads(
        (workplace / "report/lamaml-table1.json").read_text()
    )
    assert "53.38 ± 1.53" in out
    assert "smoke scale: no verdicts" in out
    assert "1 cells" not in err
    assert main(["list", "tables"]) == 0
    listed = capsys.readouterr().out
    assert "lamaml/table1" in listed
    assert "21 of 21" in listed
