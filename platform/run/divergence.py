"""A replica whose loss is no finite number any more: said once, never a reason to stop."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from frisket.platform.run.folder import RunFolder

WATCHED = "loss_before"
"""The loss that a method reports at every position; others are NaN where there was nothing to measure."""


def is_lost(record: Mapping[str, Any]) -> bool:
    """Whether what a learner reports of a position shows that its weights have diverged."""
    return not math.isfinite(record.get(WATCHED, 0.0))


def sentence(who: str, position: int) -> str:
    """What to tell the user of the replica ``who``, whose loss was not finite first at ``position``."""
    return (
        f"{who}: the loss at step {position} is no finite number. Its weights have diverged, and what it answers from "
        "here on says nothing of the method. The run goes on; a smaller learning rate may help."
    )


def divergences(folder: RunFolder) -> dict[str, int]:
    """Key of every replica that has diverged so far, to the position of the first loss that was not finite."""
    positions = {files.key: files.diverged for files in folder.replicas()}
    return {key: position for key, position in positions.items() if position is not None}
