"""A search some of whose points diverge: they rank last, are registered only if nothing else is there; it is said."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from searches import prepare_search, write

from frisket.platform.cli.main import main
from frisket.platform.reports.card import card, note
from frisket.platform.reports.search import Searched
from frisket.platform.run.engine import run_pack
from frisket.platform.run.folder import RunFolder
from frisket.platform.run.points import best_of, points_of, product
from frisket.platform.run.summary import summarise
from frisket.platform.tables.verdict import Number, judge

TINY: dict[str, Any] = {
    "stream": {"kind": "rotations", "tasks": 2, "samples": 40, "test_samples": 20},
    "learner": {"kind": "online-sgd"},
    "seeds": 1,
}


def tune(rates: Sequence[float]) -> dict[str, Any]:
    return TINY | {"tune": {"axes": {"learner.lr": list(rates)}}}


def searched(parent: Path, *rates: float, seeds: int = 1) -> RunFolder:
    """A finished search over learning rates."""
    fields: dict[str, Any] = tune(rates) | {"seeds": seeds}
    folder = prepare_search(parent, None, **fields)
    for pack in folder.packs:
        run_pack(folder, pack)
    return folder


@pytest.mark.parametrize("rates", [(1e30, 0.1, 0.0001, 1e29), (0.0001, 1e29, 0.1, 1e30)])
def test_what_diverged_ranks_behind_everything_else(rates: tuple[float, ...], tmp_path: Path) -> None:
    folder = searched(tmp_path, *rates)
    points, best = points_of(folder), best_of(folder)
    assert best is not None
    assert best.label == "lr=0.1"
    assert [point.sound for point in points] == [True, True, False, False]
    assert all(point.ranked for point in points)
    assert product(folder).experiment.learner.config.lr == 0.1
    said = summarise(folder)
    assert said["best"] == "lr=0.1"
    assert ["diverged" in point for point in said["points"]] == [False, False, True, True]
    assert {point.label for point in Searched.of(folder).ranked} == {"lr=0.1", "lr=0.0001"}
    assert "diverged" not in card(product(folder), "1", "abc", "name", "1")


def test_one_lost_seed_of_two_is_enough(tmp_path: Path) -> None:
    folder = searched(tmp_path, 1e30, 0.1, seeds=2)
    first, last = points_of(folder)
    assert (first.diverged, set(last.diverged)) == ({}, {0, 1})
    assert summarise(folder)["points"][1]["diverged"] == {f"seed{k}": v for k, v in last.diverged.items()}


def test_where_all_diverged_the_best_of_them_is_kept_and_the_card_says_so(tmp_path: Path) -> None:
    folder = searched(tmp_path, 1e30, 1e29)
    best = best_of(folder)
    assert best is not None
    assert not best.sound
    for text in (card(product(folder), "1", "abc", "name", "1"), note(product(folder), "1", "abc")):
        assert "**1 of 1 replicas diverged**" in text
        assert "So did every finished point of the search." in text


@pytest.mark.process
@pytest.mark.parametrize(("rates", "tag"), [((1e30, 0.1), None), ((1e30, 1e29), "1 of 1 replicas")])
def test_command_line_and_registry_say_it(
    rates: tuple[float, ...], tag: str | None, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = write(workplace, **tune(rates))
    assert main(["tune", spec, "--data", "embedded", "--local", "--json", "out.json"]) == 0
    out = capsys.readouterr().out
    made = json.loads(Path("out.json").read_text())
    assert f"best      {made['best']}{'' if tag is None else ', which diverged, as every finished point did'}\n" in out
    assert out.count(" diverged ") == len(made["points"]) - (tag is None)
    assert "±" not in out  # of one seed
    assert main(["sync", "last"]) == 0
    uri = made["mlflow"]["tracking_uri"]
    (version,) = MlflowClient(uri, registry_uri=uri).search_model_versions("")
    assert version.tags.get("frisket.diverged") == tag
    assert version.tags["frisket.point"] == made["best"]
    assert ("replicas diverged" in (version.description or "")) == (tag is not None)


@pytest.mark.parametrize("better", ["higher", "lower", None])
@pytest.mark.parametrize("ours", [math.nan, math.inf])
def test_a_number_that_is_not_finite_gets_no_verdict(better: Any, ours: float) -> None:
    found = judge(Number(mean=0.5, std=0.1, n=5), Number(mean=ours, std=math.nan, n=5), better=better, tolerance=None)
    assert found.text == "no verdict: ours is no finite number"
