"""Cumulative online accuracy, OSAKA's score (osaka spec, section 2, "Scores").

a_t is the accuracy on D_t of the weights held before Y_t is revealed, with the batch's own statistics; a learner that
has no answer yet scores 0. The total is the mean of a_t over all steps, a domain's is the mean over its steps. Where
a learner reports ``detected``, its flags are scored against the true switches; t = 0 counts as a true switch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from frisket.platform.protocols import recent
from frisket.platform.protocols.protocol import Answers, Protocol, ProtocolKind, Scored
from frisket.types import Batch, Metrics, State


@dataclass(frozen=True, kw_only=True)
class OnlineAccuracyConfig:
    """Nothing to choose."""


class OnlineAccuracy(Protocol):
    """Online accuracy, overall and per domain.

    Scores: ``sum``, ``steps`` and their ``recent_`` twins since the last points, each ``[domains]``; ``switches``
    ``[2, 2]``, steps by (true switch, flagged), counted only where the learner reports ``detected``.
    """

    headline = "accuracy"

    def __init__(self, config: OnlineAccuracyConfig, domains: Sequence[str]) -> None:
        self.domains = tuple(domains)

    def init(self) -> State:
        zeros = torch.zeros(len(self.domains), dtype=torch.float64)
        names = ("sum", "steps", "recent_sum", "recent_steps")
        return {**{k: zeros.clone() for k in names}, "switches": torch.zeros(2, 2, dtype=torch.int64)}

    def before(self, answers: Sequence[Answers], scores: Sequence[State], batches: Sequence[Batch]) -> list[Scored]:
        return [self._score(*one) for one in zip(answers, scores, batches, strict=True)]

    def after(self, answers: Sequence[Answers], known: list[Scored], batches: Sequence[Batch]) -> list[Scored]:
        return [self._count_switch(one, batch) for one, batch in zip(known, batches, strict=True)]

    def _score(self, answer: Answers, scores: State, batch: Batch) -> Scored:
        task = batch.task
        if task is None:
            raise ValueError("online accuracy is scored per domain: the stream must give the hidden task")
        accuracy = accuracy_of(answer(batch.x, task), batch.y)
        here = torch.zeros(len(self.domains), dtype=torch.float64)
        here[self.domains.index(task.domain)] = 1
        scores = {
            **scores,
            "sum": scores["sum"] + accuracy * here,
            "steps": scores["steps"] + here,
            "recent_sum": scores["recent_sum"] + accuracy * here,
            "recent_steps": scores["recent_steps"] + here,
        }
        return Scored(scores, recent.record(accuracy, task, batch))

    def _count_switch(self, known: Scored, batch: Batch) -> Scored:
        scores, record = known
        if batch.position != 0 and "detected" not in record:
            return known
        switches = scores["switches"].clone()
        switches[int(record["switch"]), int(record.get("detected", 0))] += 1
        return Scored({**scores, "switches": switches}, record)

    def points(self, scores: State) -> tuple[Metrics, State]:
        points = self._accuracies(scores["sum"], scores["steps"])
        lately = self._accuracies(scores["recent_sum"], scores["recent_steps"])
        points.update({f"recent/{k}": v for k, v in lately.items()})
        closed = {k: torch.zeros_like(scores[k]) for k in ("recent_sum", "recent_steps")}
        return points, {**scores, **closed}

    def final(self, scores: State) -> Metrics:
        metrics = self._accuracies(scores["sum"], scores["steps"])
        if int(scores["switches"].sum()) > 1:  # t = 0 alone says only that the learner reports no detections
            metrics.update(detection_scores(scores["switches"]))
        return metrics

    def _accuracies(self, total: Tensor, steps: Tensor) -> Metrics:
        result = {"accuracy": float(total.sum() / steps.sum())}
        for name, t, n in zip(self.domains, total.tolist(), steps.tolist(), strict=True):
            if n:
                result[f"accuracy/{name}"] = t / n
        return result


def accuracy_of(logits: Tensor | None, y: Tensor) -> float:
    """Fraction of ``y`` [N] answered by ``logits`` [N, ways] or [S, N, ways] (their mean); 0 without one."""
    if logits is None:
        return 0.0
    return float((logits.argmax(-1) == y).double().mean())


def detection_scores(switches: Tensor) -> Metrics:
    """Precision, recall and F1 of the switch flags, and what the released code prints under those names.

    Args:
        switches: counts ``[true switch, flagged]``, [2, 2].
    """
    (quiet, false_alarm), (missed, found) = switches.double()
    precision = _ratio(found, found + false_alarm)
    recall = _ratio(found, found + missed)
    specificity = _ratio(quiet, quiet + false_alarm)
    return {
        "detection/precision": precision,
        "detection/recall": recall,
        "detection/f1": _harmonic(precision, recall),
        "detection/specificity": specificity,
        "detection/f1_as_released": _harmonic(recall, specificity),
    }


def _ratio(part: Tensor, whole: Tensor) -> float:
    return float(part / whole) if whole else 0.0


def _harmonic(a: float, b: float) -> float:
    return 2 * a * b / (a + b) if a + b else 0.0


PROTOCOLS = (
    ProtocolKind(
        name="online-accuracy",
        config=OnlineAccuracyConfig,
        build=lambda config, stream: OnlineAccuracy(config, stream.domains),
        headline=OnlineAccuracy.headline,
        summary="accuracy on every batch before its labels are seen",
        journalled=("accuracy",),
        final=("detection/f1", "detection/precision", "detection/recall"),
    ),
)
