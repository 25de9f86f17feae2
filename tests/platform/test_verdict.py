"""The rule by which a number counts as reproduced."""

from __future__ import annotations

import math
from typing import Any

import pytest

from frisket.platform.tables.table import Tolerance
from frisket.platform.tables.verdict import Number, judge, ratio, two_standard_errors

PUBLISHED = Number(mean=0.50, std=0.02, n=4)
OWN = Tolerance(points=0.015)


def ours(mean: float, n: int = 5) -> Number:
    return Number(mean=mean, std=0.02, n=n)


@pytest.mark.parametrize(
    ("mean", "better", "expected"),
    [
        (0.5149999, "higher", "match"),
        (0.4850001, "higher", "match"),
        (0.5151, "higher", "better"),
        (0.4849, "higher", "miss"),
        (0.5151, "lower", "miss"),
        (0.4849, "lower", "better"),
        (0.5151, None, "miss"),
        (0.4849, None, "miss"),
    ],
)
def test_own_tolerance(mean: float, better: Any, expected: str) -> None:
    judgement = judge(PUBLISHED, ours(mean), better=better, tolerance=OWN)
    assert judgement.verdict == judgement.text == expected
    assert judgement.difference == pytest.approx(mean - 0.5)
    assert judgement.tolerance == 0.015


def test_without_one_two_standard_errors_decide() -> None:
    """s_p^2 / n_p = 0.0004 / 4, s_o^2 / (n_o - 1) = 0.0004 / 4: two standard errors are 2 sqrt(0.0002)."""
    width = two_standard_errors(PUBLISHED, ours(0.5))
    assert width == pytest.approx(2 * math.sqrt(0.0002))
    assert judge(PUBLISHED, ours(0.528), better="higher", tolerance=None).verdict == "match"
    assert judge(PUBLISHED, ours(0.529), better="higher", tolerance=None).verdict == "better"


@pytest.mark.parametrize(
    ("published", "own", "obstacle", "says"),
    [
        (None, ours(0.5), "", "nothing is published here"),
        (PUBLISHED, None, "", "not run"),
        (PUBLISHED, None, "not finished", "not finished"),
        (PUBLISHED, ours(0.5), "smoke scale", "smoke scale"),
        (Number(mean=0.5, n=5), ours(0.5), "", "no spread is published and the table sets no tolerance"),
        (Number(mean=0.5, std=0.1), ours(0.5), "", "the source states no number of seeds"),
        (PUBLISHED, ours(0.5, n=1), "", "1 seed of ours has no spread"),
    ],
)
def test_no_verdict_says_why(published: Number | None, own: Number | None, obstacle: str, says: str) -> None:
    judgement = judge(published, own, better="higher", tolerance=None, obstacle=obstacle)
    assert judgement.verdict is None
    assert judgement.text.startswith(f"no verdict: {says}")
    assert (judgement.difference is None) == (published is None or own is None)


def test_an_obstacle_stands_before_any_number() -> None:
    judgement = judge(PUBLISHED, ours(0.5), better="higher", tolerance=OWN, obstacle="embedded data")
    assert (judgement.verdict, judgement.difference, judgement.reason) == (None, 0.0, "embedded data")


def test_own_tolerance_needs_no_spread() -> None:
    assert judge(Number(mean=0.5), ours(0.51, n=1), better=None, tolerance=OWN).verdict == "match"


def test_ratio_of_table_2() -> None:
    """45.95 +- 0.38 over 218.03 +- 6.44: 0.2108, spread 0.2108 sqrt((0.38 / 45.95)^2 + (6.44 / 218.03)^2)."""
    found = ratio(Number(mean=45.95, std=0.38, n=5), Number(mean=218.03, std=6.44, n=4))
    assert found is not None
    assert found.mean == pytest.approx(0.21075, abs=1e-5)
    assert found.std == pytest.approx(found.mean * math.hypot(0.38 / 45.95, 6.44 / 218.03))
    assert found.n == 4


@pytest.mark.parametrize(
    ("top", "bottom"), [(None, PUBLISHED), (PUBLISHED, None), (PUBLISHED, Number(mean=0.0, std=0.0, n=5))]
)
def test_no_ratio(top: Number | None, bottom: Number | None) -> None:
    assert ratio(top, bottom) is None


def test_ratio_without_spread_or_seeds() -> None:
    found = ratio(Number(mean=1.0), Number(mean=4.0, std=0.1, n=3))
    assert found == Number(mean=0.25)
