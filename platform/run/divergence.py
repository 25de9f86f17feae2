"""A replica whose loss or whose answers are no finite numbers any more: said once, never a reason to stop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from frisket.algos.parts.finite import finite
from frisket.algos.parts.tree import flatten
from frisket.platform.run.folder import RunFolder
from frisket.types import State

WATCHED = ("loss_before", "query_loss")
"""The losses that a method reports at every position; others are NaN where there was nothing to measure."""

What = Literal["loss", "answers"]

_SEEN: Mapping[What, str] = {"loss": "the loss at step {} is no finite number", "answers": "answers at step {} are NaN"}


@dataclass(frozen=True, kw_only=True)
class Lost:
    """Where a replica was lost.

    Attributes:
        step: the first position at which it showed.
        what: what was no finite number there.
        weights: whether all that the method keeps was finite still after that step.
    """

    step: int
    what: What
    weights: Literal["finite", "diverged"]

    def said(self) -> dict[str, Any]:
        """As the files of a replica say it."""
        return {"diverged": self.step, "diverged_in": self.what, "weights": self.weights}

    @classmethod
    def read(cls, said: Mapping[str, Any] | None) -> Lost | None:
        """The inverse of `said`, of a mapping that may say other things too; None where it says none of it."""
        if not said or "diverged" not in said:
            return None
        return cls(step=said["diverged"], what=said.get("diverged_in", "loss"), weights=said.get("weights", "diverged"))


def lost(step: int, record: Mapping[str, Any], answers_are_numbers: bool, state: Callable[[], State]) -> Lost | None:
    """What is to be said of a replica after ``step``; None where all is well.

    Args:
        step: the position.
        record: what it reports of that position, with what the protocol measured.
        answers_are_numbers: whether none of its answers there was NaN.
        state: gives the learner's own, after the step; asked only where something is lost.
    """
    what: What | None = None
    if not finite(*(record.get(name, 0.0) for name in WATCHED)):
        what = "loss"
    elif not answers_are_numbers:
        what = "answers"
    if what is None:
        return None
    return Lost(step=step, what=what, weights="finite" if finite(*flatten(state()).values()) else "diverged")


def sentence(who: str, found: Lost) -> str:
    """What to tell the user of the replica ``who``."""
    seen = f"{who}: {_SEEN[found.what].format(found.step)}."
    if found.weights == "finite":
        return f"{seen} Its weights are finite still: the run goes on, and what it answers later may be sound."
    return (
        f"{seen} Its weights have diverged, and what it answers from here on says nothing of the method. "
        "The run goes on; a smaller learning rate may help."
    )


def losses(folder: RunFolder) -> dict[str, Lost]:
    """Key of every replica that is lost so far, to where."""
    found = {files.key: Lost.read(files.last_said) for files in folder.replicas()}
    return {key: one for key, one in found.items() if one is not None}


def divergences(folder: RunFolder) -> dict[str, int]:
    """Key of every replica that is lost so far, to the first position at which it showed."""
    return {key: one.step for key, one in losses(folder).items()}
