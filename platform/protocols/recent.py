"""Accuracy on batches before their labels are seen: the journal's record of it, and its mean over the window since the
last points.

Scores: ``online``, the window's sum, and ``online_steps``, its batches.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from frisket.platform.protocols.protocol import Scored
from frisket.types import Batch, Metrics, State, Task


def window() -> State:
    """An empty window, to be among a replica's scores."""
    return {
        "online": torch.zeros((), dtype=torch.float64),
        "online_steps": torch.zeros((), dtype=torch.int64),
    }


def counted(scores: State, batch: Batch, accuracy: float) -> Scored:
    """``scores`` with the ``accuracy`` on ``batch`` in their window, and what the journal keeps of it.

    Args:
        scores: a replica's, with a window.
        batch: whose task must be known.
        accuracy: of the answers before learning.
    """
    task = batch.task
    if task is None:
        raise ValueError("tasks are scored one by one: the stream must give the hidden task")
    scores = {**scores, "online": scores["online"] + accuracy, "online_steps": scores["online_steps"] + 1}
    return Scored(scores, record(accuracy, task, batch))


def record(accuracy: float, task: Task, batch: Batch) -> dict[str, Any]:
    """What the journal keeps of the ``accuracy`` on ``batch``, which is of ``task``."""
    return {"accuracy": accuracy, "domain": task.domain, "switch": task.start == batch.position}


def recorded(step: Mapping[str, Any]) -> tuple[float, str] | None:
    """Accuracy and domain in a position's record, read back; None where no accuracy was measured."""
    return (step["accuracy"], step.get("domain", "")) if "accuracy" in step else None


def closed(scores: State, metrics: Metrics) -> tuple[Metrics, State]:
    """``metrics`` with the window's mean as ``recent/accuracy``, and ``scores`` with an empty one."""
    steps = int(scores["online_steps"])
    recent = {"recent/accuracy": float(scores["online"]) / steps} if steps else {}
    return {**recent, **metrics}, {**scores, **window()}
