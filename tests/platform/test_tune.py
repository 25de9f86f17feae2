"""A search from end to end, in this process: files, ranking, pictures, mistakes, MLflow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from PIL import Image
from searches import assert_all_there_once, never, prepare_search, write

import frisket
from frisket.errors import RunError, SpecError, Stopped
from frisket.platform.cli.main import main
from frisket.platform.executors import local, ray_tune
from frisket.platform.executors.ray_trial import score_at
from frisket.platform.reports.figure import Heading, save
from frisket.platform.reports.figures import draw_figures
from frisket.platform.reports.search import (
    SEARCHES,
    Searched,
    best_over,
    draw_heat_map,
    draw_line,
    draw_scatter,
    drawing,
)
from frisket.platform.run.engine import run_replica
from frisket.platform.run.folder import RunFolder
from frisket.platform.run.points import Point, best_of, points_of
from frisket.platform.run.progress import take
from frisket.platform.run.summary import summarise
from frisket.platform.specs.search import Search
from frisket.platform.tracking.record import Record
from frisket.platform.tracking.uploader import Uploader, unsent
from frisket.platform.verbs import run as launch

pytestmark = [pytest.mark.process, pytest.mark.usefixtures("workplace")]


def point(score: float | None, *, n: int = 2, stopped: dict[str, int] | None = None, **values: Any) -> Point:
    return Point(
        label=str(values), values=values, score=score, std=0.1, n=n, metrics={}, seconds=1.0, stopped=stopped,
        finished=stopped is None, diverged={},
    )  # fmt: skip


# -- results -----------------------------------------------------------------------------------------------------------


def test_command_line_ranks_points_and_keeps_the_contract(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["tune", write(workplace), "--data", "embedded", "--local", "--json", "out.json"]
    assert main(arguments) == 0
    made, out = json.loads(Path("out.json").read_text()), capsys.readouterr().out
    assert list(made) == ["spec", "frisket", "git", "data", "results", "summary", "mlflow", "points", "best"]
    assert len(made["results"]) == 8
    scores = [p["score"] for p in made["points"]]
    assert scores == sorted(scores, reverse=True)
    best = made["points"][0]
    assert made["best"] == best["label"]
    assert made["summary"] == best["metrics"]
    of_best = [r["metrics"]["ra"] for r in made["results"] if r["config"]["variant"] == best["label"]]
    assert best["score"] == pytest.approx(sum(of_best) / 2)
    assert best["std"] == pytest.approx(abs(of_best[0] - of_best[1]) / 2)
    assert best["n"] == 2
    assert set(best["values"]) == {"learner.alpha_init", "learner.alpha_lr"}
    assert f"{best['score']:.3f} ± {best['std']:.3f}" in out
    assert f"best      {best['label']}" in out
    folder = RunFolder.find("last", workplace / "frisket_runs")
    assert {"heat_map.png", "accuracy.png", "matrix.png"} <= {p.name for p in (folder.path / "figures").iterdir()}


def test_a_point_has_the_numbers_of_the_plain_experiment_it_stands_for(
    finished_search: RunFolder, workplace: Path
) -> None:
    best = best_of(finished_search)
    assert best is not None
    overrides = ["tune=null", *(f"{axis}={value}" for axis, value in best.values.items())]
    plain = frisket.run(write(workplace), overrides, data="embedded", local=True)
    assert plain.summary["summary"] == best.metrics
    model, same = frisket.load_model(finished_search.path), frisket.load_model(plain.path)
    assert model.seeds == [0, 1]
    assert model.masks(seed=1) == same.masks(seed=1)
    assert model.provenance["point"]["label"] == best.label


def test_less_can_be_better(workplace: Path) -> None:
    folder = prepare_search(
        workplace, tune={"axes": {"learner.alpha_init": [0.01, 0.1]}, "metric": "sparsity", "mode": "min"}
    )
    local.execute(folder, data_dir=None, stop=never)
    low, high = points_of(folder)
    assert low.score is not None
    assert high.score is not None
    assert low.score == low.metrics["sparsity"]["mean"] < high.score


def test_progress_shows_the_best_point_and_nothing_of_the_others(finished_search: RunFolder) -> None:
    best = best_of(finished_search)
    assert best is not None
    assert take(finished_search, 2).scores == {f"best {best.label}": best.score}


# -- pictures ----------------------------------------------------------------------------------------------------------


def test_heat_map_takes_the_best_over_the_other_axes() -> None:
    points = [
        point(s, a=a, b=b, c=c) for s, a, b, c in [(0.1, 1, 1, 1), (0.4, 1, 1, 2), (0.3, 1, 2, 1), (0.2, 2, 1, 1)]
    ]
    table = best_over(points, [1, 2], [1, 2], ("a", "b"), "max")
    assert [[p and p.score for p in row] for row in table] == [[0.4, 0.3], [0.2, None]]
    lowest = best_over(points, [1, 2], [1, 2], ("a", "b"), "min")
    assert lowest[0][0] is points[0]
    search = Search(axes={"a": [1, 2], "b": [1, 2], "c": [1, 2]})
    figure = draw_heat_map(Searched(points, search, "ra"), Heading("s", "c"))
    assert figure.get_suptitle() == "s: ra over the grid, best over c\n"


@pytest.mark.parametrize(
    ("search", "points", "draw"),
    [
        (Search(axes={"a": [1, 2], "b": ["x"]}), [point(0.1, a=1, b="x"), point(0.2, a=2, b="x")], draw_line),
        (Search(axes={"a": [[8], [16]]}), [point(0.1, a=[8]), point(0.2, a=[16])], draw_line),
        (Search(axes={"a": [1, 2], "b": [1, 2]}), [point(0.1, a=1, b=2), point(0.2, a=2, b=2)], draw_line),
        (
            Search(axes={"a": [1, 2], "b": ["x", None]}),
            [point(0.1, a=1, b="x"), point(0.2, a=2, b=None)],
            draw_heat_map,
        ),
        (
            Search(axes={"a": {"low": 0.1, "high": 1.0, "scale": "log"}, "b": ["x", "y"]}, search="random", samples=3),
            [point(0.1, a=0.2, b="x"), point(0.2, a=0.9, b="y"), point(None, stopped={"step": 1, "of": 2}, a=1, b="y")],
            draw_scatter,
        ),
        (
            Search(axes={"a": {"low": 0.1, "high": 1.0}}, search="random", samples=2),
            [point(0.1, a=0.2), point(0.2, a=0.9)],
            draw_scatter,
        ),
    ],
)
def test_every_kind_of_search_has_its_picture(
    search: Search, points: list[Point], draw: object, tmp_path: Path
) -> None:
    found = Searched(points, search, "ra")
    (row,) = [row for row in SEARCHES if row.draw is drawing(found)]
    assert row.draw is draw
    save(row.draw(found, Heading("tiny", "made by hand")), tmp_path / row.name)
    with Image.open(tmp_path / row.name) as picture:
        colours = picture.convert("RGB").getcolors(1 << 24)
        assert colours is not None
        assert len(colours) > 20


def test_nothing_is_drawn_of_points_that_did_not_finish() -> None:
    points = [point(None, stopped={"step": 1, "of": 2}, a=1)]
    assert drawing(Searched(points, Search(axes={"a": [1]}), "ra")) is None


# -- mistakes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["tune", "demo"], "no tune section"),
        (["run", "replay/permutations-grid"], "frisket tune"),
        (["tune", "TINY", "tune.axes.learner.alpha_int=[1]"], "did you mean 'learner.alpha_init'"),
        (["tune", "TINY", "tune.axes={}"], "at least one field"),
        (["tune", "TINY", "tune.axes.learner.memory_slots=[20, 5]"], "replay_batch = 10 (point alpha_init=0.01"),
        (["tune", "TINY", "tune.axes.stream.samples=[40,5000]"], "stream.samples = 5000"),
        (["tune", "TINY", "tune.metric=accuracy/digits"], "tune.metric"),
        (["tune", "TINY", "learner={kind: er}", "tune={axes: {learner.lr: [0.1]}, metric: sparsity}"], "has masks"),
        (
            ["run", "replay/rotations-gem", "stream.kind=osaka", "protocol.kind=online-accuracy"],
            "must be told the task",
        ),
    ],
)
def test_mistake_is_named_before_anything_starts(
    arguments: list[str], said: str, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [write(workplace) if word == "TINY" else word for word in arguments]
    assert main([*given, "--data", "embedded", "--local"]) == 2
    out, err = capsys.readouterr()
    assert said in err
    assert (out, len(err.strip().splitlines())) == ("", 1)
    assert not (workplace / "frisket_runs").exists()


def test_each_command_goes_on_with_its_own_runs(finished_search: RunFolder) -> None:
    with pytest.raises(RunError, match=f"frisket tune --resume {finished_search.run_id}"):
        launch.reopen(str(finished_search.path))
    assert launch.reopen(str(finished_search.path), search=True).run_id == finished_search.run_id


# -- MLflow ------------------------------------------------------------------------------------------------------------


def test_store_has_search_points_seeds_and_the_best_points_model(workplace: Path) -> None:
    folder = prepare_search(workplace, tune={"axes": {"learner.alpha_init": [0.01, 0.1]}})
    local.execute(folder, data_dir=None, stop=never)
    status = Uploader(folder).push()
    assert (status.complete, status.model, status.version) == (True, "tiny-search", "1"), status.reason
    assert_all_there_once(folder)
    (folder.path / "upload.json").unlink()  # as if no acknowledgement had ever arrived
    assert Uploader(folder).push().complete
    assert_all_there_once(folder)

    uri, best = folder.manifest["tracking"]["uri"], best_of(folder)
    assert best is not None
    client = MlflowClient(uri, registry_uri=uri)
    (version,) = client.search_model_versions("name = 'tiny-search'")
    assert version.tags["frisket.best_of_search"] == folder.run_id
    assert version.tags["frisket.point"] == best.label
    assert version.description is not None
    assert "scores.png" in version.description
    parent = client.get_run(Record.of(folder).parent or "")
    assert parent.data.tags["frisket.best_point"] == best.label
    assert parent.data.metrics["ra"] == pytest.approx(best.score)
    assert "figures/scores.png" in {f.path for f in client.list_artifacts(parent.info.run_id, "figures")}
    model = frisket.load_model("models:/tiny-search/1", tracking_uri=uri)
    assert model.variants == []
    for axis, value in best.values.items():
        assert getattr(model.experiment.learner.config, axis.partition(".")[2]) == value
    assert model.provenance["point"]["values"] == best.values


def test_a_stopped_point_is_marked_and_never_counts(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    axes = {"learner.alpha_init": [0.01, 0.02]}
    folder = prepare_search(workplace, seeds=1, tune={"axes": axes, "search": "asha", "grace": 0.25})
    first, second = folder.experiment.replicas()
    assert ray_tune.rungs_of(folder, None) == [2, 6, 8]
    asked = iter(range(100))
    with pytest.raises(Stopped):
        run_replica(folder, first, stop=lambda: next(asked) == 3)
    run_replica(folder, second)
    ray_tune.mark_stopped(folder, 8)
    assert folder.done
    assert score_at(folder.replica(second), 2, "ra") != score_at(folder.replica(second), 8, "ra")
    ended, stopped = points_of(folder)
    assert (ended.label, stopped.label) == (second.variant, first.variant)
    assert (stopped.stopped, stopped.score, stopped.n, stopped.ranked) == ({"step": 4, "of": 8}, None, 0, False)
    summary = summarise(folder)
    assert [r["config"]["variant"] for r in summary["results"]] == [second.variant]
    assert draw_figures(folder)
    assert Uploader(folder).push().complete
    assert not unsent(folder)
    uri = folder.manifest["tracking"]["uri"]
    (experiment,) = [e for e in MlflowClient(uri).search_experiments() if e.name == "frisket/tiny-search"]
    runs = MlflowClient(uri).search_runs([experiment.experiment_id])
    by_point = {run.data.tags.get("frisket.point"): run for run in runs}
    assert len(runs) == len(by_point) == 3
    assert by_point[first.variant].info.status == "KILLED"
    assert by_point[first.variant].data.tags["frisket.stopped"] == "step 4 of 8"
    assert by_point[second.variant].info.status == "FINISHED"
    assert main(["tune", "--resume", str(folder.path), "--local"]) == 0
    assert "stopped at step 4 of 8" in capsys.readouterr().out


def test_racing_needs_ray(workplace: Path) -> None:
    tune = {"axes": {"learner.alpha_init": [0.01, 0.02]}, "search": "asha"}
    with pytest.raises(RunError, match="leave local out"):
        frisket.tune(write(workplace, seeds=1, tune=tune), data="embedded", local=True)


def test_grids_are_listed_with_their_size(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    assert main(["list", "specs"]) == 0
    assert "la-maml: 12 points over learner.alpha_init, learner.alpha_lr" in capsys.readouterr().out


def test_search_is_refused_by_run_and_the_other_way_round(workplace: Path) -> None:
    with pytest.raises(SpecError, match="tune=null"):
        launch.prepare(write(workplace), data="embedded")
    with pytest.raises(SpecError, match="no tune section"):
        frisket.tune("demo", data="embedded", local=True)
