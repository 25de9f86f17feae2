"""GEMS's tables: what their cells are, budgets, what is shown of them on embedded data, and what is not shown."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from judged import compared

import frisket
from frisket.platform.specs.experiment import Experiment, load_spec
from frisket.platform.tables.table import PlannedCell, load_table, plan

DOMAINS = {
    "CUB+VGG": ("cub", "flowers102"),
    "CUB+Fungi": ("cub", "fungi"),
    "CUB+VGG+Fungi": ("cub", "flowers102", "fungi"),
    "CUB+VGG+Fungi+Aircraft": ("cub", "flowers102", "fungi", "aircraft"),
}
MEASURED = {f"accuracy/{domain}": 0.5 for domain in ("cub", "flowers102", "fungi", "aircraft")}


def experiment(cell: PlannedCell) -> Experiment:
    return load_spec(cell.spec, cell.overrides)


@pytest.mark.parametrize("scale", ["paper", "short", "smoke"])
def test_every_member_has_the_budget_of_the_one_maml(scale: Any) -> None:
    """And all others have the tasks of MAML, in equal parts."""
    cells = plan(load_table("gems/table1"), scale=scale)
    found = {(cell.row, cell.column): experiment(cell) for cell in cells}
    assert {column for _, column in found} == set(DOMAINS)
    for (row, column), one in found.items():
        maml, count = found["MAML", column], len(DOMAINS[column])
        times = count if row == "Multi-MAML" else 1
        assert one.stream.config.datasets() == DOMAINS[column]
        assert one.learner.config.meta_batch == times * maml.learner.config.meta_batch
        assert one.stream.config.steps == times * maml.stream.config.steps
        assert maml.learner.config.meta_batch % count == 0
        assert one.stream.config.steps % one.learner.config.meta_batch == 0
    outer = {one.stream.config.steps // one.learner.config.meta_batch for one in found.values()}
    assert outer == {{"paper": 60_000, "short": 200, "smoke": 4}[scale]}


def test_all_tables_have_the_settings_of_the_protocol() -> None:
    for name in ("gems/table1", "gems/table2", "gems/table3", "gems/table4", "gems/table5"):
        for one in map(experiment, plan(load_table(name))):
            stream, method, protocol = one.stream.config, one.learner.config, one.protocol.config
            assert (stream.classes, stream.size, stream.normalise) == ("meta-dataset", 84, "imagenet")
            assert (stream.ways, stream.shots, stream.queries, one.network.config.channels) == (5, 1, 15, 64)
            assert stream.small_classes == ("skip" if "fungi" in stream.domains else "error")
            assert (method.alpha, method.outer_lr, method.order, method.optimiser) == (0.01, 0.001, 2, "adam")
            assert (protocol.every, protocol.validation_episodes, protocol.test_episodes) == (500, 200, 600)
            assert one.seeds == 3


def test_schedules_have_the_mean_of_the_constant_one() -> None:
    for cell in plan(load_table("gems/table4")):
        given = experiment(cell).learner.config.sparsity
        sparsity = given if isinstance(given, tuple) else (given,) * 5
        assert sum(sparsity) / 5 == pytest.approx(0.5)
        steps = {round(b - a, 9) for a, b in itertools.pairwise(sparsity)}
        slope = {"S1": 0.2, "S2": 0.1, "S3": 0.05, "S4": 0, "S5": -0.2, "S6": -0.1, "S7": -0.05}.get(cell.row)
        assert steps == ({slope} if slope is not None else {0, -0.625})


def test_a_metric_that_a_column_does_not_have_is_not_printed_there(tmp_path: Path) -> None:
    own: dict[str, float] = dict.fromkeys(("accuracy/cub", "accuracy/fungi"), 0.5)
    means = {"MAML": own, "BMP": own}
    _, lines = compared(tmp_path, "gems/table1", means, columns=["CUB+Fungi"])
    assert [(line.row, line.metric) for line in lines] == [
        *((row, metric) for row in ("MAML", "BMP") for metric in ("accuracy/cub", "accuracy/fungi", "seconds")),
        ("BMP : MAML", "seconds ratio"),
    ]
    told = {(line.row, line.metric): line for line in lines}
    assert told["MAML", "accuracy/cub"].verdict_text == "match"  # 48.7 ± 1.6, within two deviations
    assert told["MAML", "accuracy/fungi"].verdict_text == "better"  # 39.2 ± 1.4
    ratio = told["BMP : MAML", "seconds ratio"]
    assert ratio.published is not None
    assert ratio.published.mean == pytest.approx(7.46 / 6.33)
    assert ratio.verdict_text == "match"
    assert told["BMP", "seconds"].verdict_text.startswith("no verdict: depends on the machine")


def test_a_schedule_does_not_answer_to_the_number_of_what_is_learned(tmp_path: Path) -> None:
    means = {"S1": MEASURED, "S5": dict.fromkeys(MEASURED, 0.6)}
    _, lines = compared(tmp_path, "gems/table4", means)
    assert [line for line in lines if line.published is not None] == []
    found = {(line.row, line.claim): line.verdict_text for line in lines if line.metric == "accuracy/cub"}
    assert found == {
        ("S1", ""): "no verdict: nothing is published here",
        ("S5", "above S1 (text)"): "match",
        ("S5", "above S4 (ours)"): "no verdict: S4 not run",
    }


def test_what_a_part_of_a_stand_in_answers_stands_where_its_data_set_would(workplace: Path) -> None:
    """Without a verdict, and under its own name in the results."""
    asked: dict[str, Any] = {"rows": ["MMSUP"], "columns": ["CUB+VGG+Fungi"], "scale": "smoke"}
    done = frisket.reproduce("gems/table1", **asked, data="embedded", local=True)
    (result,) = done.summary["results"]
    lines = {line["metric"]: line for line in done.summary["comparison"]}
    assert list(lines) == ["accuracy/cub", "accuracy/flowers102", "accuracy/fungi", "seconds"]
    for domain in DOMAINS["CUB+VGG+Fungi"]:
        line = lines[f"accuracy/{domain}"]
        assert line["ours"]["mean"] == result["metrics"][f"accuracy/glyphs-for-{domain}"]
        assert (line["verdict"], line["reason"]) == (None, "smoke scale")
    assert not [name for name in result["metrics"] if name in lines]


def test_models_are_judged_on_a_data_set_they_were_not_trained_on(workplace: Path) -> None:
    asked: dict[str, Any] = {"rows": ["Multi-MAML"], "columns": ["CUB+Fungi to VGG"], "scale": "smoke"}
    done = frisket.reproduce("gems/table2", **asked, data="embedded", local=True)
    (line,) = done.summary["comparison"]
    assert (line["metric"], line["published"]["mean"]) == ("accuracy", 0.638)
    assert 0 <= line["ours"]["mean"] <= 1
    assert "stream.domains={flowers102: null}" in done.summary["cells"][0]["evaluate"]
