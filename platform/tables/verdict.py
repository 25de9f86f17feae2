"""Published against measured: the rule by which a number counts as reproduced."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from frisket.platform.run.aggregate import spread_text
from frisket.platform.tables.claims import Claim
from frisket.platform.tables.table import Tolerance

Verdict = Literal["match", "better", "miss"]

RULE = (
    "A verdict is given only at paper scale, on real data, with at least the published number of seeds (where the "
    "source states none: the specification's). match: the means differ by no more than the tolerance. Beyond it: "
    "better or miss, by the metric's better direction; a metric without one is a miss. The tolerance is the table's "
    "own where it sets one, before anything is run; else two standard errors of the difference, "
    "2 sqrt(s_p^2 / n_p + s_o^2 / (n_o - 1)), with s_p, n_p the published standard deviation and seeds, and s_o, n_o "
    "ours (s_o is the population's, hence n_o - 1). A claim (one row above another, or a bound) has no tolerance: "
    "match where our means satisfy it, else miss; where it comes from stands beside it, and one marked ours is an "
    "expectation of our own. (searched settings): at least one setting of ours is not the source's, or not given "
    "there, and was searched; a match then says that the number can be had, not that the source's settings give it."
)


@dataclass(frozen=True, kw_only=True)
class Number:
    """A mean over seeds. Attributes: std: None where it is not given; n: seeds, None where not stated."""

    mean: float
    std: float | None = None
    n: int | None = None


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """Attributes:
    difference: ours minus published, None where one of them is missing.
    tolerance: the largest difference that is a match, None where there is no telling.
    verdict: None where there is none.
    reason: why there is no verdict, else empty.
    """

    difference: float | None = None
    tolerance: float | None = None
    verdict: Verdict | None = None
    reason: str = ""

    @property
    def text(self) -> str:
        """``match``, ``better``, ``miss`` or ``no verdict: REASON``."""
        return self.verdict or f"no verdict: {self.reason}"


def judge(
    published: Number | None,
    ours: Number | None,
    *,
    better: Literal["higher", "lower"] | None,
    tolerance: Tolerance | None,
    obstacle: str = "",
) -> Judgement:
    """Compare two numbers by `RULE`.

    Args:
        published, ours: None where there is none.
        better: which direction is the better one.
        tolerance: the table's own; None for two standard errors.
        obstacle: why there can be no verdict whatever the numbers are; empty for none.
    """
    if ours is None:
        return Judgement(reason=obstacle or "not run")
    if published is None:
        return Judgement(reason="nothing is published here")
    if not math.isfinite(ours.mean):
        return Judgement(reason=obstacle or "ours is no finite number")
    difference = ours.mean - published.mean
    width = tolerance.width(published.std) if tolerance else two_standard_errors(published, ours)
    if obstacle:
        return Judgement(difference=difference, tolerance=width, reason=obstacle)
    if width is None:
        return Judgement(difference=difference, reason=_no_width(published, ours))
    if abs(difference) <= width:
        return Judgement(difference=difference, tolerance=width, verdict="match")
    towards_better = better is not None and (difference > 0) == (better == "higher")
    return Judgement(difference=difference, tolerance=width, verdict="better" if towards_better else "miss")


def judge_claim(claim: Claim, ours: Number | None, bound: Number | None, *, obstacle: str = "") -> Judgement:
    """Whether ``ours`` satisfies ``claim``, by `RULE`; the difference is ours minus the bound.

    Args:
        claim: what is said.
        ours: None where there is none.
        bound: what it is compared with: the claim's number, or the other row's mean; None where that is not there.
        obstacle: as for `judge`.
    """
    if ours is None:
        return Judgement(reason=obstacle or "not run")
    if bound is None:
        return Judgement(reason=obstacle or f"{claim.bound} not run")
    difference = ours.mean - bound.mean
    if obstacle:
        return Judgement(difference=difference, reason=obstacle)
    return Judgement(difference=difference, verdict="match" if claim.holds(ours.mean, bound.mean) else "miss")


def two_standard_errors(published: Number, ours: Number) -> float | None:
    """Two standard errors of the difference of the means; None where spread or seeds are missing on a side."""
    if published.std is None or not published.n or ours.std is None or not ours.n or ours.n < 2:
        return None
    return 2 * math.sqrt(published.std**2 / published.n + ours.std**2 / (ours.n - 1))


def ratio(top: Number | None, bottom: Number | None) -> Number | None:
    """``top / bottom``, its spread to first order with the two independent; n is the smaller one."""
    if top is None or bottom is None or not bottom.mean:
        return None
    mean = top.mean / bottom.mean
    std = None
    if top.std is not None and bottom.std is not None:
        std = math.hypot(top.std / bottom.mean, mean * bottom.std / bottom.mean)
    counts = [number.n for number in (top, bottom)]
    return Number(mean=mean, std=std, n=None if None in counts else min(n for n in counts if n is not None))


def number_text(number: Number | None, unit: str) -> str:
    """``77.42 ± 0.65``: percent of fractions, or in its unit; one seed has no spread; ``-``: no number."""
    if number is None:
        return "-"
    digits = _digits(unit)
    std = None if number.std is None else _scaled(number.std, unit)
    return spread_text(_scaled(number.mean, unit), std, number.n, form=f".{digits}f")


def difference_text(difference: float, unit: str) -> str:
    """``+0.65``, as `number_text` has it."""
    return f"{_scaled(difference, unit):+.{_digits(unit)}f}"


def _no_width(published: Number, ours: Number) -> str:
    if published.std is None:
        return "no spread is published and the table sets no tolerance"
    if not published.n:
        return "the source states no number of seeds and the table sets no tolerance"
    return f"{ours.n} seed of ours has no spread"


def _scaled(value: float, unit: str) -> float:
    return 100 * value if unit == "percent" else value


def _digits(unit: str) -> int:
    return {"percent": 2, "seconds": 1, "nats": 2, "count": 0, "ratio": 3}[unit]
