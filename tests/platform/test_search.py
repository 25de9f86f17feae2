"""The tune section of a specification: its points, and every mistake answered with field, value and fix."""

from __future__ import annotations

import math
from typing import Any

import pytest

from frisket.errors import SpecError
from frisket.platform.specs.experiment import Experiment, from_dict, load_spec
from frisket.platform.specs.search import Search, points
from frisket.platform.specs.text import spec_names

BASE: dict[str, Any] = {
    "name": "tiny/search",
    "stream": {"kind": "permutations", "tasks": 2, "samples": 40},
    "network": {"kind": "mlp", "hidden": [8]},
    "learner": {"kind": "la-maml", "glances": 1},
    "protocol": {"kind": "retained-accuracy"},
    "seeds": 2,
}
LOG = {"low": 0.01, "high": 1.0, "scale": "log"}


def search(axes: Any, **tune: Any) -> Experiment:
    return from_dict(BASE | {"tune": {"axes": axes, **tune}})


def test_grid_is_every_combination_in_order() -> None:
    made = search({"learner.alpha_init": [0.1, 0.3], "learner.alpha_lr": [1e-2, 1]})
    assert list(made.variants) == [
        "alpha_init=0.1,alpha_lr=0.01", "alpha_init=0.1,alpha_lr=1",
        "alpha_init=0.3,alpha_lr=0.01", "alpha_init=0.3,alpha_lr=1",
    ]  # fmt: skip
    assert [r.key for r in made.replicas()][:3] == [
        "alpha_init=0.1,alpha_lr=0.01-seed0", "alpha_init=0.1,alpha_lr=0.01-seed1", "alpha_init=0.1,alpha_lr=1-seed0"
    ]  # fmt: skip


def test_a_point_is_a_plain_experiment() -> None:
    made = search({"learner.alpha_init": [0.1, 0.3], "stream.tasks": [2, 4]})
    point = made.variant("alpha_init=0.3,tasks=4")
    assert (point.tune, point.variants) == (None, {})
    assert (point.learner.config.alpha_init, point.learner.config.glances, point.stream.config.tasks) == (0.3, 1, 4)
    plain = from_dict(
        BASE | {"learner": {**BASE["learner"], "alpha_init": 0.3}, "stream": {**BASE["stream"], "tasks": 4}}
    )
    assert point == plain


def test_survives_its_own_json() -> None:
    made = search({"learner.alpha_init": LOG, "network.hidden": [[8], [8, 8]]}, search="random", samples=5)
    assert "variants" not in made.as_dict()
    assert from_dict(made.as_dict()) == made


def test_draws_are_the_same_everywhere_and_stay_when_more_are_asked_for() -> None:
    axes = {"learner.alpha_init": LOG, "learner.glances": {"low": 1, "high": 3}}
    few, many = (list(search(axes, search="random", samples=n).variants) for n in (3, 30))
    assert few == ["alpha_init=0.1959,glances=1", "alpha_init=0.02929,glances=2", "alpha_init=0.5365,glances=1"]
    assert many[:3] == few
    assert len(set(many)) == 30
    assert list(search(axes, search="random", samples=3, seed=1).variants) != few


def test_ranges_are_drawn_as_their_scale_says() -> None:
    made = points(
        Search(axes={"a.log": LOG, "a.flat": {"low": 0.0, "high": 1.0}, "a.whole": {"low": 2, "high": 4}},
               search="random", samples=400),
        {"a.log": float, "a.flat": float, "a.whole": int},
    )  # fmt: skip
    values = [p["a"] for p in made.values()]
    assert all(0.01 <= v["log"] <= 1 and 0 <= v["flat"] <= 1 for v in values)
    logs = [math.log10(v["log"]) for v in values]
    assert sum(logs) / 400 == pytest.approx(-1, abs=0.1)  # the middle of [-2, 0]
    assert sum(v["flat"] for v in values) / 400 == pytest.approx(0.5, abs=0.05)
    counts = [sum(v["whole"] == k for v in values) for k in (2, 3, 4)]
    assert sum(counts) == 400
    assert min(counts) > 100


def test_samples_of_a_finite_space_are_all_different() -> None:
    made = search({"learner.glances": [1, 2], "learner.inner_steps": [1, 2]}, search="random", samples=4)
    assert len(made.variants) == 4


@pytest.mark.parametrize(
    ("axes", "labels"),
    [
        ({"learner.alpha_init": [0.1], "stream.tasks": [2]}, ["alpha_init=0.1,tasks=2"]),
        ({"network.hidden": [[8], [8, 16]]}, ["hidden=8", "hidden=8x16"]),
        ({"learner.clip_norm": [None, 2.0]}, ["clip_norm=None", "clip_norm=2.0"]),
        ({"network.hidden": [[8] * 80, [8]]}, ["point0", "point1"]),  # too long for a folder
    ],
)
def test_labels_can_be_folders(axes: dict[str, Any], labels: list[str]) -> None:
    assert list(search(axes).variants) == labels


def test_equal_last_names_are_told_apart() -> None:
    made = points(Search(axes={"a.x": [1], "b.x": [2]}), {"a.x": int, "b.x": int})
    assert made == {"a.x=1,b.x=2": {"a": {"x": 1}, "b": {"x": 2}}}


def test_command_line_can_change_an_axis_and_drop_the_search() -> None:
    name = "replay/permutations-grid"
    made = load_spec(name, ["tune.axes.learner.alpha_lr=[0.5]"])
    assert all(label.endswith(",alpha_lr=0.5") for label in made.variants)
    assert len(made.variants) == 4
    assert load_spec(name, ["tune=null"]).variants == {}


def test_shipped_grids() -> None:
    grids = {name: load_spec(name) for name in spec_names() if load_spec(name).tune is not None}
    assert {"replay/permutations-grid", "replay/rotations-sparse-grid"} <= set(grids)
    assert len(grids["replay/permutations-grid"].variants) >= 12
    assert grids["replay/permutations-grid"].seeds == 2
    paper = grids["replay/rotations-sparse-grid"].variant("gamma_m=1.7,m_init=0.3")
    published = load_spec("replay/rotations-sparse-la-maml")
    assert (paper.stream, paper.network, paper.learner) == (published.stream, published.network, published.learner)


@pytest.mark.parametrize(
    ("tune", "field", "says"),
    [
        ({"axes": {"learner.alpha_int": [1]}}, "tune.axes.learner.alpha_int", "did you mean 'learner.alpha_init'"),
        ({"axes": {"lerner.alpha_init": [1]}}, "tune.axes.lerner.alpha_init", "did you mean 'learner.alpha_init'"),
        ({"axes": {"seeds": [1]}}, "tune.axes.seeds", "no such field"),
        ({"axes": {}}, "tune.axes", "at least one field"),
        ({"axes": {"learner.glances": []}}, "tune.axes.learner.glances", "at least one value"),
        ({"axes": {"learner.glances": 5}}, "tune.axes.learner.glances", "list of at least one value"),
        ({"axes": {"learner.alpha_init": [0.1, 1e-1]}}, "tune.axes.learner.alpha_init", "0.1 twice"),
        ({"axes": {"learner.alpha_init": [1, 1.0]}}, "tune.axes.learner.alpha_init", "1.0 twice"),
        ({"axes": {"learner.alpha_init": [0.1, "a"]}}, "learner.alpha_init", "a number (point alpha_init=a)"),
        ({"axes": {"learner.glances": [1.5]}}, "learner.glances", "whole number"),
        ({"axes": {"learner.memory_slots": [200, 5]}}, "learner.memory_slots", "replay_batch = 10 (point memory_slots"),
        ({"axes": {"learner.glances": {"low": 1, "high": 3}}}, "tune.axes.learner.glances", "needs `samples`"),
        ({}, "tune.axes", "required"),
        (5, "tune", "mapping"),
        ({"axes": {"learner.glances": [1]}, "search": "gird"}, "tune.search", "'grid', 'random' or 'asha'"),
        ({"axes": {"learner.glances": [1]}, "serach": "grid"}, "tune.serach", "did you mean 'search'"),
        ({"axes": {"learner.glances": [1]}, "samples": 3}, "tune.samples", "left out"),
        ({"axes": {"learner.glances": [1]}, "search": "random"}, "tune.samples", "number of points"),
        ({"axes": {"learner.glances": [1, 2]}, "search": "random", "samples": 3}, "tune.samples", "at most 2"),
        ({"axes": {"learner.glances": [1]}, "metric": "raa"}, "tune.metric", "did you mean 'ra'"),
        ({"axes": {"learner.glances": [1]}, "metric": "detection/f1"}, "tune.metric", "known: bti"),
        ({"axes": {"learner.glances": [1]}, "mode": "most"}, "tune.mode", "'max' or 'min'"),
        ({"axes": {"learner.glances": [1]}, "search": "asha"}, "seeds", "must be 1"),
    ],
)  # fmt: skip
def test_mistakes_are_named(tune: Any, field: str, says: str) -> None:
    with pytest.raises(SpecError) as caught:
        from_dict(BASE | {"tune": tune})
    assert caught.value.field == field
    assert says in caught.value.fix


@pytest.mark.parametrize(
    ("axis", "says"),
    [
        ({"low": 1.0, "high": 0.1}, "low is below"),
        ({"low": 0.0, "high": 0.1, "scale": "log"}, "above 0"),
        ({"low": 0.0, "high": 0.1, "scale": "cubic"}, "linear or log"),
        ({"low": 0.1}, "{low: number"),
        ({"low": "a", "high": 1.0}, "{low: number"),
    ],
)
def test_ranges_that_are_none(axis: Any, says: str) -> None:
    with pytest.raises(SpecError) as caught:
        search({"learner.alpha_init": axis}, search="random", samples=2)
    assert caught.value.field == "tune.axes.learner.alpha_init"
    assert says in caught.value.fix


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"published": {"source": "c"}}, "published"),
        ({"seeds": 2}, "seeds"),
        ({"tune": {"axes": {"stream.tasks": [2, 4]}, "search": "asha"}}, "tune.axes"),
        ({"tune": {"axes": {"learner.glances": [1]}, "search": "asha", "metric": "detection/f1"}}, "tune.metric"),
    ],
)
def test_points_of_a_paper_are_not_raced(fields: dict[str, Any], field: str) -> None:
    tune = {"axes": {"learner.glances": [1, 2]}, "search": "asha"}
    base = BASE | {"seeds": 1, "tune": tune}
    assert len(from_dict(base).variants) == 2
    with pytest.raises(SpecError) as caught:
        from_dict(base | fields)
    assert caught.value.field == field


def test_variants_and_a_search_exclude_each_other() -> None:
    with pytest.raises(SpecError, match="leave them out"):
        from_dict(BASE | {"variants": {"a": {}}, "tune": {"axes": {"learner.glances": [1]}}})
