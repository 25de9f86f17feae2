"""A replica that adapts to all domains alike, though it could decide otherwise ("mask collapsed", gems spec, section 8,
fact 11): said once, never a reason to stop. `frisket.platform.protocols.decisions` says when it has."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from frisket.platform.protocols.decisions import APART, CHANCE, COUNT, DIFFERING, LEAST_APART, LEVEL


@dataclass(frozen=True, kw_only=True)
class Collapsed:
    """Attributes:
    decisions: how many there are, of which none differs between domains.
    apart: how far the means of two domains lie apart at most, in any of them.
    chance: the least p of any.
    """

    decisions: int
    apart: float
    chance: float

    @classmethod
    def read(cls, result: Mapping[str, Any]) -> Collapsed | None:
        """What a replica's result says of it; None: it has not collapsed."""
        said = result.get("collapsed")
        return None if said is None else cls(**said)

    def said(self) -> dict[str, Any]:
        """As `read` takes it."""
        return {"collapsed": dataclasses.asdict(self)}

    def text(self) -> str:
        """The numbers in words."""
        return (
            f"none of {self.decisions} decisions differs between domains (two domains' means lie at most "
            f"{self.apart:.3g} apart; least p = {self.chance:.3g}; what differs is {LEAST_APART} apart at p <= {LEVEL})"
        )


def collapsed(metrics: Mapping[str, float]) -> Collapsed | None:
    """What the final ``metrics`` of a replica say; None where decisions differ, where it decides none, and where too
    few tasks tell."""
    if metrics.get(DIFFERING, 1.0) > 0:
        return None
    return Collapsed(decisions=int(metrics[COUNT]), apart=metrics[APART], chance=metrics[CHANCE])


def sentence(who: str, found: Collapsed) -> str:
    """What to tell the user of the replica ``who``."""
    return f"{who}: mask collapsed: {found.text()}. It adapts to all domains alike."


def collapses(results: Iterable[Mapping[str, Any]]) -> dict[str, Collapsed]:
    """Key of every replica that has collapsed, to the numbers behind it. Args: results: `RunFolder.results`."""
    found = {result["replica"]: Collapsed.read(result) for result in results}
    return {key: one for key, one in found.items() if one is not None}
