"""Few-shot tables and searches: cells whose models are judged on another stream, run and by hand; searches."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import frisket
from frisket.errors import DataError, Stopped
from frisket.files import write_sealed
from frisket.platform.cli.main import main
from frisket.platform.reports.reproduction import as_json, as_markdown
from frisket.platform.run.folder import RunFolder
from frisket.platform.specs.experiment import load_spec
from frisket.platform.specs.text import spec_names
from frisket.platform.tables.comparison import Comparison, compare
from frisket.platform.tables.reproduction import Reproduction
from frisket.platform.tables.table import load_table, plan
from frisket.platform.verbs import reproduce

CROSS: dict[str, Any] = {"rows": ["sparse-MAML"], "columns": ["tiered-1-shot", "cub-1-shot"]}
"""Two cells of Table 4 that one run answers."""
FEW_SHOT = (
    "gems/table1", "gems/table2", "gems/table3", "gems/table4", "gems/table5", "sparse/table1", "sparse/table2",
    "sparse/table3", "sparse/table4", "sparse/tableS1", "sparse/tableS3",
)  # fmt: skip


def test_models_are_judged_on_other_streams_without_training_once_each(workplace: Path) -> None:
    reproduction = reproduce.start("sparse/table4", **CROSS, scale="smoke", data="embedded")
    reproduce.execute(reproduction, local=True)
    (run,) = RunFolder.all(workplace / "frisket_runs")
    assert reproduction.done
    assert run.experiment.stream.config.dataset == "miniimagenet"

    made = json.loads((reproduction.path / "sparse-table4.json").read_text())
    assert [cell["state"] for cell in made["cells"]] == ["done", "done"]
    assert {cell["run"] for cell in made["cells"]} == {run.run_id}
    (line, other) = made["comparison"]
    assert line["published"] == {"mean": 0.5347, "std": 0.0053, "n": 5}
    assert (other["published"]["mean"], line["reason"]) == (0.4137, "smoke scale")
    change = ["stream.dataset=cub", "stream.normalise=none", "learner.inner_steps_test=35"]
    asked = frisket.evaluate(run.path, overrides=change, episodes=2, data="embedded")
    assert other["ours"]["mean"] == asked["summary"][0]["accuracy"]
    assert made["results"][1]["metrics"] == {"accuracy": asked["results"][0]["accuracy"],
                                             "accuracy/interval": asked["results"][0]["interval"]}  # fmt: skip
    wanted = f"frisket_runs/{run.run_id} {' '.join(change)} --episodes 2 --data embedded"
    assert made["cells"][1]["command"].endswith(f" && frisket evaluate {wanted}")
    assert f", then `frisket evaluate {wanted}` |" in (reproduction.path / "sparse-table4.md").read_text()

    reproduction.manifest["cells"][0]["evaluation"]["results"][0]["accuracy"] = 0.25
    write_sealed(reproduction.path / Reproduction.MANIFEST, reproduction.manifest)
    again = reproduce.execute(reproduce.reopen("last"), local=True)
    assert again["comparison"][0]["ours"]["mean"] == 0.25  # what was noted: it is not judged again

    once_more = reproduce.start("sparse/table4", **CROSS, scale="smoke", data="embedded", reuse=True)
    summary = reproduce.execute(once_more, local=True)
    assert [cell["reused"] for cell in summary["cells"]] == [True, True]
    assert summary["comparison"][1]["ours"] == other["ours"]
    assert len(RunFolder.all(workplace / "frisket_runs")) == 1


def test_stopped_before_its_models_are_judged_a_cell_is_not_finished(workplace: Path) -> None:
    reproduction = reproduce.start("sparse/table4", rows=["BOIL"], columns=["cub-5-shot"], scale="smoke",
                                   data="embedded")  # fmt: skip

    def trained() -> bool:
        return any(run.done for run in RunFolder.all(workplace / "frisket_runs"))

    with pytest.raises(Stopped):
        reproduce.execute(reproduction, local=True, stop=trained)
    run = reproduction.run_of(0)
    assert run is not None
    assert run.done
    assert not reproduction.done
    assert as_json(reproduction, compare(reproduction))["cells"][0]["state"] == "not finished"
    assert main(["reproduce", "--resume", "last", "--local"]) == 0
    assert reproduce.reopen("last").done
    assert len(RunFolder.all(workplace / "frisket_runs")) == 1


def judged_by_hand(
    parent: Path, accuracy: float, *, trained: str = "real", judged: str | None = "real", own: float = 0.6703
) -> tuple[Reproduction, Comparison]:
    """One cell of Table 4 (sparse-MAML, CUB, 5 shots: 60.58), at paper scale. ``trained``, ``judged``: kind of the
    data; None: not judged yet. ``own``: what the run itself has measured."""
    table = load_table("sparse/table4")
    cells = plan(table, rows=["sparse-MAML"], columns=["cub-5-shot"])
    reproduction = Reproduction.create(
        parent, table, cells, scale="paper", data="auto", register=False, reuse=False, out=None,
        tracking={"uri": "", "experiment": ""},
    )  # fmt: skip
    experiment = load_spec(cells[0].spec, cells[0].overrides, seeds=cells[0].seeds)
    run = RunFolder.create(
        parent, experiment, data_mode=trained, data={"miniimagenet": {"kind": trained}}, register=False, tracking={}
    )
    about: Mapping[str, Any] = {"variant": None, "config": {}, "sparsity": {}, "seconds": 1.0}
    for replica in experiment.replicas():
        result = {**about, "seed": replica.seed, "metrics": {"accuracy": own}}
        run.replica(replica).finish(result, journal_bytes=0)
    reproduction.assign(0, run, reused=False)
    if judged is not None:
        rows = [{"seed": s, "variant": None, "accuracy": accuracy, "interval": 0.01} for s in range(experiment.seeds)]
        reproduction.judged(0, {"results": rows, "data": {"mode": judged, "sets": {"cub": {"kind": judged}}}})
    (line,) = compare(reproduction)
    return reproduction, line


@pytest.mark.parametrize(
    ("accuracy", "kinds", "verdict"),
    [
        (0.6058 + 0.0149, {}, "match"),
        (0.6058 + 0.0151, {}, "better"),
        (0.6058 - 0.0151, {}, "miss"),
        (0.6058, {"judged": "embedded"}, "no verdict: embedded data"),
        (0.6058, {"trained": "embedded"}, "no verdict: embedded data"),
        (0.6058, {"judged": None}, "no verdict: not finished"),
    ],
)
def test_the_verdict_is_of_what_was_answered_elsewhere(
    accuracy: float, kinds: dict[str, Any], verdict: str, tmp_path: Path
) -> None:
    """The run's own accuracy, which the specification has a published number for (67.03), is no part of it."""
    reproduction, line = judged_by_hand(tmp_path, accuracy, **kinds)
    assert line.verdict_text == verdict
    assert line.published is not None
    assert (line.published.mean, line.source) == (0.6058, "SPARSE21, Table 4")
    assert "60.58 ± 1.10" in as_markdown(reproduction, [line])
    assert reproduction.done == (kinds.get("judged", "real") is not None)


def test_training_and_judging_are_on_data_of_one_kind(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is asked for as auto is settled before anything is run; real data that are missing are named there."""
    monkeypatch.setenv("FRISKET_DATA", str(workplace))
    reproduction = reproduce.start("sparse/table4", **CROSS, scale="smoke")
    assert reproduction.manifest["data"] == "embedded"
    with pytest.raises(DataError, match=r"miniimagenet|tieredimagenet|cub"):
        reproduce.start("sparse/table4", **CROSS, scale="smoke", data="real")


def test_cells_of_table_1_at_smoke_scale(workplace: Path) -> None:
    asked: dict[str, Any] = {"rows": ["MAML", "sparse-MAML+"], "columns": ["5-shot"], "scale": "smoke"}
    done = frisket.reproduce("sparse/table1", **asked, data="embedded", local=True)
    lines = {line["row"]: line for line in done.summary["comparison"]}
    assert {row: line["published"]["mean"] for row, line in lines.items()} == {"MAML": 0.6315, "sparse-MAML+": 0.6805}
    assert all(0.0 <= line["ours"]["mean"] <= 1.0 for line in lines.values())
    sources = {line["source"] for line in lines.values()}
    assert sources == {"SPARSE21, Table 1; row quoted there from its source", "SPARSE21, Table 1; sparsity of Table 3"}


@pytest.mark.slow
@pytest.mark.parametrize("table", FEW_SHOT)
def test_every_cell_runs_at_smoke_scale(table: str, workplace: Path) -> None:
    done = frisket.reproduce(table, scale="smoke", data="embedded", local=True)
    lines, cells = done.summary["comparison"], {(cell["row"], cell["column"]) for cell in done.summary["cells"]}
    told = {
        (line["row"], line["column"]) for line in lines if line["published"] is not None and line["ours"] is not None
    }
    assert told >= {(row, column) for row, column in cells if not load_table(table).cell(row, column).apart}
    assert {(line["row"], line["column"]) for line in lines if line["ours"] is not None} >= cells
    assert [line for line in lines if line["published"] is not None and line["ours"] is None] == []


def test_the_large_network_answers_to_its_own_numbers_alone() -> None:
    planned = plan(load_table("sparse/tableS1"), rows=["MAML"])
    assert [cell.overrides for cell in planned] == [(), (), ("network.width=large",), ("network.width=large",)]
    snapshots = {load_spec(cell.spec).protocol.config.snapshots for cell in planned}
    assert snapshots == {3}


GRIDS = {
    "fewshot/miniimagenet-alpha-grid": 5,
    "fewshot/miniimagenet-k-grid": 3,
    "fewshot/miniimagenet-sparsity-grid": 5,
    "gems/mmsup-schedule-grid": 8,
    "gems/mmsup-sparsity-grid": 9,
    "osaka/p90-sparse-grid": 12,
    "pruning/mnist-sparsity-grid": 16,
}


def test_searches_have_their_points() -> None:
    found = {name: load_spec(name) for name in spec_names() if name.endswith("-grid")}
    assert {name: len(found[name].variants) for name in GRIDS} == GRIDS
    assert found["fewshot/miniimagenet-k-grid"].variant("inner_steps=15").learner.config.inner_steps == 15
    kept = found["pruning/mnist-sparsity-grid"].variant("kept=0.05,powerprop_alpha=3.0")
    assert (kept.protocol.config.kept, kept.network.config.powerprop_alpha) == ((0.05,), 3.0)


@pytest.mark.parametrize("name", ["fewshot/miniimagenet-k-grid", "fewshot/miniimagenet-alpha-grid"])
def test_first_order_maml_is_searched_by_the_same_file(name: str) -> None:
    """As the first lines of the file say: nothing but the method is another one."""
    own = load_spec(name)
    other = load_spec(name, ["learner={kind: fomaml, meta_batch: 2, alpha: 0.1, inner_steps: 5}"])
    assert list(other.variants) == list(own.variants)
    assert {plan.learner.kind for plan in other.plans.values()} == {"fomaml"}
    assert other.stream == own.stream


def test_a_search_over_few_shot_learning_runs(tmp_path: Path) -> None:
    small = ["stream.steps=4", "network.channels=4", "learner.inner_steps=1", "tune.axes.learner.closed=[0.1, 0.9]",
             "protocol.validation_episodes=2", "protocol.test_episodes=2"]  # fmt: skip
    done = frisket.tune("fewshot/miniimagenet-sparsity-grid", small, data="embedded", local=True, runs_dir=tmp_path)
    points = {point["label"]: point["metrics"]["sparsity"]["mean"] for point in done.summary["points"]}
    assert points["closed=0.9"] > 0.8
    assert points["closed=0.1"] < 0.2
    assert (done.path / "figures" / "scores.png").is_file()
