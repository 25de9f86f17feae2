"""``frisket compare`` and `frisket.compare`: differences with the right interval, against SciPy's tests."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import pytest
from made import made_run
from scipy import stats

import frisket
from frisket.errors import RunError
from frisket.platform.cli.main import main
from frisket.platform.verbs.compare import difference

FIRST = {0: 0.5, 1: 0.5, 2: 0.6}
SECOND = {0: 0.6, 1: 0.7, 2: 0.8}


@pytest.fixture
def pair(workplace: Path) -> Path:
    parent = workplace / "frisket_runs"
    made_run(parent, "first", {"accuracy": FIRST, "old": dict.fromkeys(range(3), 1.0)})
    made_run(parent, "second", {"accuracy": SECOND, "new": dict.fromkeys(range(3), 1.0)}, learner={"kind": "cmaml"})
    return parent


def test_seeds_are_paired_where_the_stream_is_the_same(pair: Path) -> None:
    """Differences 0.1, 0.2, 0.2: mean 1/6, standard error 1/30; the t quantile of 2 degrees of freedom is 4.30265."""
    compared = frisket.compare("first", "second")
    assert [run["run"] for run in compared["runs"]] == ["first", "second"]
    assert (compared["level"], compared["headline"]) == (0.95, "accuracy")
    one, two = compared["metrics"]["accuracy"]
    assert (one["mean"], one["std"], one["n"]) == pytest.approx((1.6 / 3, math.sqrt(2) / 30, 3))
    assert one["difference"] is one["interval"] is one["method"] is None
    assert two["difference"] == pytest.approx(1 / 6)
    assert (two["method"], two["n_difference"]) == ("paired", [3])
    assert two["interval"] == pytest.approx([1 / 6 - 4.30265 / 30, 1 / 6 + 4.30265 / 30], abs=1e-6)
    expected = stats.ttest_rel(list(SECOND.values()), list(FIRST.values())).confidence_interval()
    assert two["interval"] == pytest.approx(list(expected))
    assert list(compared["metrics"]) == ["accuracy"]
    assert compared["not_shared"] == ["old", "new"]


@pytest.mark.parametrize("other", [{"digest": "bb"}, {"mode": "real"}, {"stream": {"p": 0.9, "steps": 30, "shots": 1}}])
def test_another_stream_or_other_data_are_not_paired(other: dict[str, object], pair: Path) -> None:
    made_run(pair, "other", {"accuracy": SECOND}, **other)  # pyright: ignore[reportArgumentType]
    line = frisket.compare("first", "other")["metrics"]["accuracy"][1]
    assert (line["method"], line["n_difference"]) == ("welch", [3, 3])
    sides = list(SECOND.values()), list(FIRST.values())
    expected = stats.ttest_ind(*sides, equal_var=False).confidence_interval()
    assert line["interval"] == pytest.approx(list(expected))


def test_who_makes_the_batches_does_not_part_the_streams(pair: Path) -> None:
    made_run(pair, "served", {"accuracy": SECOND}, stream={"p": 0.8, "steps": 30, "shots": 1, "source": "service"})
    assert frisket.compare("first", "served")["metrics"]["accuracy"][1]["method"] == "paired"


def test_only_seeds_that_both_have_are_paired(pair: Path) -> None:
    made_run(pair, "longer", {"accuracy": {**SECOND, 3: 0.0, 4: 0.0}})
    line = frisket.compare("first", "longer")["metrics"]["accuracy"][1]
    assert (line["n"], line["n_difference"]) == (5, [3])
    assert line["difference"] == pytest.approx(1 / 6)


@pytest.mark.parametrize("same_stream", [True, False])
def test_too_few_seeds_or_no_finite_values_give_no_interval(same_stream: bool) -> None:
    alone = difference({0: 0.7}, {0: 0.5}, same_stream=same_stream)
    assert (alone.interval, alone.method, alone.n) == (None, None, None)
    assert alone.mean == pytest.approx(0.2)
    lost = difference({0: 0.7, 1: math.inf}, {0: 0.5, 1: math.inf}, same_stream=same_stream)
    assert lost.interval is None
    equal = difference({0: 0.5, 1: 0.5}, {0: 0.25, 1: 0.25}, same_stream=same_stream)
    assert equal.interval == (0.25, 0.25)


def test_variants_and_points_can_be_named(workplace: Path) -> None:
    parent, variants = workplace / "frisket_runs", {"a": {}, "b": {"learner": {"kind": "cmaml"}}}
    made_run(parent, "pair", {"accuracy": FIRST}, others={"b": {"accuracy": SECOND}}, variants=variants)
    line = frisket.compare("pair", "pair:b")["metrics"]["accuracy"][1]
    assert (line["method"], line["difference"]) == ("paired", pytest.approx(1 / 6))
    tune = {"axes": {"learner.inner_steps": [1, 2]}}
    made_run(parent, "search", {"accuracy": FIRST}, others={"inner_steps=2": {"accuracy": SECOND}}, tune=tune)
    compared = frisket.compare("search", "search:inner_steps=1")
    assert [run["variant"] for run in compared["runs"]] == ["inner_steps=2", "inner_steps=1"]
    with pytest.raises(RunError, match="no such variant; did you mean 'inner_steps="):
        frisket.compare("pair", "search:inner_steps=3")
    made_run(parent, "plain", {"accuracy": FIRST})
    with pytest.raises(RunError, match="it has no variants"):
        frisket.compare("pair", "plain:b")


def test_mistakes(pair: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made_run(pair, "half", {"accuracy": {0: 0.5, 1: None}})
    made_run(pair, "apart", {"ra": FIRST})
    for arguments, said in (
        (["first", "half"], "is not finished; finish it with: frisket run --resume half"),
        (["first"], "name at least two"),
        (["first", "apart"], "no metric in common"),
        (["first", "secnod"], "did you mean 'second'"),
    ):
        assert main(["compare", *arguments]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert said in err
        assert "Traceback" not in err


def test_command_line_says_how_each_interval_was_made(
    pair: Path, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made_run(pair, "third", {"accuracy": SECOND}, digest="bb")
    assert main(["compare", "first", "second", "third", "--json", "c.json", "--csv", "c.csv"]) == 0
    out = capsys.readouterr().out
    lines = {line.split()[1]: line for line in out.splitlines() if line.startswith("accuracy ")}
    assert lines["first"].endswith("first")
    assert " ".join(lines["second"].split()).endswith("+0.1667 +0.0232 to +0.3101 3 pairs")
    assert lines["third"].endswith("unpaired (Welch), 3 and 3")
    assert "not in every run, so left out: old, new" in out
    assert json.loads((workplace / "c.json").read_text()) == frisket.compare("first", "second", "third")
    with (workplace / "c.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["metric"], row["run"], row["method"]) for row in rows] == [
        ("accuracy", "first", ""), ("accuracy", "second", "paired"), ("accuracy", "third", "welch")
    ]  # fmt: skip
    assert float(rows[1]["low"]) == pytest.approx(0.0232, abs=1e-4)
