"""Accuracy on batches before their labels are seen, over the window since the last points.

Scores: ``online``, the window's sum, and ``online_steps``, its batches.
"""

from __future__ import annotations

import torch

from frisket.platform.protocols.protocol import Scored
from frisket.types import Batch, Metrics, State


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
    return Scored(scores, {"accuracy": accuracy, "domain": task.domain, "switch": task.start == batch.position})


def closed(scores: State, metrics: Metrics) -> tuple[Metrics, State]:
    """``metrics`` with the window's mean as ``recent/accuracy``, and ``scores`` with an empty one."""
    steps = int(scores["online_steps"])
    recent = {"recent/accuracy": float(scores["online"]) / steps} if steps else {}
    return {**recent, **metrics}, {**scores, **window()}
