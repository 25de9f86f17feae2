"""Claims of a source that printed no number, judged on results made by hand; cells that share a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from judged import compared

from frisket.platform.reports.reproduction import as_json, as_markdown, row_of
from frisket.platform.run.folder import RunFolder
from frisket.platform.tables.claims import Claim
from frisket.platform.tables.comparison import Comparison
from frisket.platform.tables.table import load_table
from frisket.platform.tables.verdict import Number, judge_claim
from frisket.platform.verbs import reproduce

FIRST, SECOND, FOURTH = {"accuracy": 0.98}, {"accuracy": 0.981}, {"accuracy": 0.97}
LOW = "accuracy/kept-0.0100"


def claims(lines: list[Comparison]) -> dict[tuple[str, str, str], str]:
    return {(line.row, line.metric, line.claim): line.judgement.text for line in lines if line.claim}


def test_bounds_and_rows_of_figure_1(tmp_path: Path) -> None:
    """alpha 2 and 4 against alpha 1, all in one run of five variants: each cell reads its own."""
    means = {"alpha 1": FIRST | {LOW: 0.40}, "alpha 2": SECOND | {LOW: 0.41}, "alpha 4": FOURTH | {LOW: 0.40}}
    reproduction, lines = compared(tmp_path, "powerprop/fig1", means)
    assert len(RunFolder.all(tmp_path)) == 1
    found = claims(lines)
    assert found["alpha 1", "accuracy", "at least 97.50 (ours)"] == "match"
    assert found["alpha 4", "accuracy", "at least 97.50 (ours)"] == "miss"
    assert found["alpha 2", LOW, "above alpha 1 (figure)"] == "match"
    assert found["alpha 4", LOW, "above alpha 1 (figure)"] == "miss"  # level is not above
    assert found["alpha 4", "overlap/kept-0.1129", "above alpha 3 (figure)"] == "no verdict: not measured"
    (line,) = [line for line in lines if (line.row, line.metric) == ("alpha 2", LOW)]
    assert line.ours is not None
    assert line.judgement.difference == pytest.approx(0.01)
    assert row_of(line)[3:] == ("above alpha 1 (figure)", "41.00 ± 0.89", "5", "+1.00", "match")
    made = as_json(reproduction, lines)
    assert [result["seed"] for result in made["results"] if result["row"] == "alpha 2"] == [0, 1, 2, 3, 4]
    assert made["summary"][f"alpha 2/mnist/{LOW}"]["mean"] == pytest.approx(0.41)
    assert made["verdicts"]["match"] == 3
    assert "| above alpha 1 (figure) |" in as_markdown(reproduction, lines)


def test_a_row_without_a_claim_or_number_is_shown_without_a_verdict(tmp_path: Path) -> None:
    _, lines = compared(tmp_path, "powerprop/fig1", {"alpha 1": FIRST | {LOW: 0.4}})
    (line,) = [line for line in lines if line.metric == LOW]
    assert (line.claim, line.judgement.text) == ("", "no verdict: nothing is published here")


def test_the_other_row_must_be_there(tmp_path: Path) -> None:
    _, lines = compared(tmp_path, "powerprop/fig1", {"alpha 2": SECOND | {LOW: 0.4}})
    assert claims(lines)["alpha 2", LOW, "above alpha 1 (figure)"] == "no verdict: alpha 1 not run"


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"scale": "short"}, "no verdict: short scale"),
        ({"kind": "embedded"}, "no verdict: embedded data"),
        ({"seeds": 3}, "no verdict: 3 of 5 seeds"),
    ],
)
def test_a_verdict_needs_the_whole_setting(asked: dict[str, Any], says: str, tmp_path: Path) -> None:
    _, lines = compared(tmp_path, "powerprop/fig1", {"alpha 2": SECOND}, **asked)
    assert claims(lines)["alpha 2", "accuracy", "at least 97.50 (ours)"] == says


def test_number_and_claims_of_figure_4(tmp_path: Path) -> None:
    """About 86 % after 300 tasks is a number with a tolerance; that it stays above 85.61 % is a claim."""
    means = {
        "Powerprop + EPN": {"accuracy": 0.8545, "forgetting": -0.01, "capacity_free": 0.3},
        "EPN": {"accuracy": 0.80, "forgetting": 0.0, "capacity_free": 0.1},
    }
    _, lines = compared(tmp_path, "powerprop/fig4", means, columns=["300 tasks"])
    (number,) = [line for line in lines if line.published is not None]
    assert (number.row, number.published, number.judgement.text) == (
        "Powerprop + EPN", Number(mean=0.86, n=10), "match"
    )  # fmt: skip
    found = claims(lines)
    assert found["Powerprop + EPN", "accuracy", "at least 85.61 (text)"] == "miss"
    assert found["Powerprop + EPN", "accuracy", "above EPN (figure)"] == "match"
    assert found["Powerprop + EPN", "accuracy", "above PackNet (text)"] == "no verdict: PackNet not run"
    assert found["Powerprop + EPN", "capacity_free", "above EPN (figure)"] == "match"
    assert found["Powerprop + EPN", "forgetting", "at most 0.00 (text)"] == "match"


def test_fewer_than_ten_repetitions_of_300_tasks(tmp_path: Path) -> None:
    _, lines = compared(tmp_path, "powerprop/fig4", {"EPN": {"forgetting": 0.0}}, columns=["300 tasks"], seeds=9)
    assert claims(lines)["EPN", "forgetting", "at most 0.00 (text)"] == "no verdict: 9 of 10 seeds"


@pytest.mark.parametrize(
    ("given", "ours", "bound", "verdict"),
    [
        ({"above": 0.5}, 0.5, 0.5, "match"),
        ({"above": 0.5}, 0.4999, 0.5, "miss"),
        ({"below": 0.5}, 0.5, 0.5, "match"),
        ({"below": 0.5}, 0.5001, 0.5, "miss"),
        ({"above": "other"}, 0.5, 0.5, "miss"),
        ({"above": "other"}, 0.5001, 0.5, "match"),
        ({"below": "other"}, 0.5, 0.5, "miss"),
        ({"below": "other"}, 0.4999, 0.5, "match"),
        ({"above": 0.5}, float("nan"), 0.5, "miss"),
    ],
)
def test_a_bound_may_be_met_and_a_row_must_be_passed(
    given: dict[str, Any], ours: float, bound: float, verdict: str
) -> None:
    claim = Claim(metrics=("m",), rows=("one",), origin="text", **given)
    assert judge_claim(claim, Number(mean=ours), Number(mean=bound)).text == verdict


def test_acceptance_facts_are_in_the_tables() -> None:
    """P14: at no more than 5 % kept, every fraction of the curve; P19: about 86 %."""
    figure = load_table("powerprop/fig1")
    low = {name for name in figure.metrics if "/kept-" in name and float(name.partition("/kept-")[2]) <= 0.05}
    assert len(low) == 7
    for name in low:
        for alpha in (2, 3, 4):
            (claim,) = figure.claims_on(f"alpha {alpha}", "mnist", name)
            assert (claim.above, claim.origin) == ("alpha 1", "figure")
    cell = load_table("powerprop/fig4").cell("Powerprop + EPN", "300 tasks")
    assert (cell.published, cell.n) == ({"accuracy": {"mean": 0.86}}, 10)


def test_cells_of_one_run_are_run_once(workplace: Path) -> None:
    result = reproduce.execute(
        reproduce.start("powerprop/fig1", rows=["alpha 1", "alpha 2"], scale="smoke", data="embedded"), local=True
    )
    (run,) = RunFolder.all(workplace / "frisket_runs")
    assert [cell["run"] for cell in result["cells"]] == [run.run_id, run.run_id]
    scores = {r["row"]: r["metrics"]["accuracy"] for r in result["results"]}
    by_variant = {r["variant"]: r["metrics"]["accuracy"] for r in run.results()}
    assert scores == {"alpha 1": by_variant["alpha-1"], "alpha 2": by_variant["alpha-2"]}
    line = next(c for c in result["comparison"] if c["claim"] == "at least 97.50 (ours)")
    assert (line["published"], line["verdict"], line["reason"]) == (None, None, "smoke scale")
    (report,) = (workplace / "frisket_runs").glob("reproduce-*/powerprop-fig1.json")
    assert json.loads(report.read_text())["verdicts"] == result["verdicts"]
