"""What a source says of its results without printing a number: one row lies above another, or beyond a bound."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from frisket.errors import require


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A relation that our means satisfy or do not.

    Attributes:
        metrics, rows: which numbers it is about.
        columns: in which columns; empty for all.
        above, below: one of the two is given: another row's label, to be passed strictly in the same column; or a
            number in the metric's own unit, which may be met.
        origin: where it comes from: the source's ``text``, its ``figure``, or ``ours``, an expectation of our own that
            nobody has published.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}
    metrics: tuple[str, ...]
    rows: tuple[str, ...]
    columns: tuple[str, ...] = ()
    above: str | float | None = None
    below: str | float | None = None
    origin: Literal["text", "figure", "ours"]

    def __post_init__(self) -> None:
        given = [bound for bound in (self.above, self.below) if bound is not None]
        require(len(given) == 1, "claims", given, "just one of above and below")
        require(self.bound not in self.rows, "claims", self.bound, "another row than those the claim is about")

    @property
    def bound(self) -> str | float:
        """The row or the number that is compared with."""
        found = self.below if self.above is None else self.above
        assert found is not None
        return found

    def covers(self, row: str, column: str, metric: str) -> bool:
        """Whether it is about this number."""
        return row in self.rows and metric in self.metrics and (not self.columns or column in self.columns)

    def holds(self, ours: float, bound: float) -> bool:
        """Whether ``ours`` is on the claimed side of ``bound``."""
        beyond = ours - bound if self.below is None else bound - ours
        return beyond > 0 or (beyond == 0 and not isinstance(self.bound, str))
