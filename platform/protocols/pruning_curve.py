"""Accuracy against the fraction of weights that is kept, after training and without retraining (powerprop sheet,
section 4).

When the stream ends, the network is pruned by magnitude at every fraction p of ``kept`` and judged on the last task's
test set::

    accuracy/kept-P    accuracy of the pruned network;  accuracy is that of the largest p
    nll/kept-P         its mean negative log-likelihood of the labels
    overlap/kept-P     Jaccard overlap of the mask with the one the network's start would have given
    sign_changes       fraction of the weights surviving 90 % pruning whose sign is another than at the start

The journal's record of the last position holds, under ``survivors``, where those weights were and what they became
(`frisket.algos.masks.survivors`), counts in fixed bins.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from frisket.algos.learner import Dense, Learner, Prunable
from frisket.algos.masks.mask_set import MaskSet
from frisket.algos.masks.ranking import Ranking, Scope, require_kept
from frisket.algos.masks.survivors import Survivors, survivors
from frisket.algos.networks.network import own_logits
from frisket.algos.networks.powerprop import as_powerprop, masked
from frisket.envs.stream import Stream
from frisket.envs.task_stream import TaskStream
from frisket.errors import SpecError, require
from frisket.platform.protocols import recent
from frisket.platform.protocols.online_accuracy import accuracy_of
from frisket.platform.protocols.protocol import Answers, Protocol, ProtocolKind, Scored
from frisket.types import Batch, Metrics, Params, State

PUBLISHED = (
    0.01, 0.0127, 0.0162, 0.0207, 0.0264, 0.0336, 0.0428, 0.0546, 0.0695, 0.0886,
    0.1129, 0.1438, 0.1833, 0.2336, 0.2976, 0.3793, 0.4833, 0.6158, 0.7848, 1.0,
)  # fmt: skip
"""The fractions of the Powerpropagation notebook."""
_KEPT, _SURVIVORS = "/kept-", "survivors"
_MEASURED = ("accuracy", "nll", "overlap")
SURVIVING = 0.1
"""The fraction whose weights are looked at one by one, as in the paper's Figure 1."""


@dataclass(frozen=True, kw_only=True)
class PruningCurveConfig:
    """Attributes: kept: increasing fractions; scope: their budgets (`frisket.algos.masks.ranking`)."""

    kept: tuple[float, ...] = PUBLISHED
    scope: Scope = "layer"

    def __post_init__(self) -> None:
        require(len(self.kept) > 0, "kept", self.kept, "one fraction or more")
        for fraction in self.kept:
            require_kept(fraction)
        require(all(a < b for a, b in pairwise(self.kept)), "kept", self.kept, "increasing")


class PruningCurve(Protocol):
    """One-shot pruning at the end of a stream of tasks.

    Scores: ``start``, the network's first parameters; ``curve`` [3, fractions] float64 and ``sign_changes``, NaN before
    the end; the window of `frisket.platform.protocols.recent`.

    Raises:
        SpecError: ``stream`` is no sequence of tasks; later, the learner has no plain network.
    """

    headline = "accuracy"
    prunes = True

    def __init__(self, config: PruningCurveConfig, stream: Stream) -> None:
        if not isinstance(stream, TaskStream):
            raise SpecError("protocol.kind", "pruning-curve", "needs a stream of tasks with test sets: permutations")
        self.config, self.stream = config, stream

    def judgings(self, learner: Learner) -> Iterator[tuple[int, float]]:
        yield self.stream.steps - 1, 1

    def init(self) -> State:
        curve = torch.full((len(_MEASURED), len(self.config.kept)), math.nan, dtype=torch.float64)
        unknown = torch.tensor(math.nan, dtype=torch.float64)
        return {"start": {}, "curve": curve, "sign_changes": unknown, **recent.window()}

    def before(self, answers: Sequence[Answers], scores: Sequence[State], batches: Sequence[Batch]) -> list[Scored]:
        return [self._score(*one) for one in zip(answers, scores, batches, strict=True)]

    def after(self, answers: Sequence[Answers], known: list[Scored], batches: Sequence[Batch]) -> list[Scored]:
        if batches[0].position + 1 < self.stream.steps:
            return known
        return [self._with_curve(*one) for one in zip(answers, known, strict=True)]

    def points(self, scores: State) -> tuple[Metrics, State]:
        return recent.closed(scores, self.final(scores))

    def final(self, scores: State) -> Metrics:
        """The curve; nothing before the stream has ended but an accuracy of 0."""
        curve = scores["curve"]
        if bool(curve.isnan().all()):
            return {"accuracy": 0.0}
        rows = zip(_MEASURED, curve.tolist(), strict=True)
        each = {f"{name}{_KEPT}{p:.4f}": v for name, row in rows for p, v in zip(self.config.kept, row, strict=True)}
        return {"accuracy": float(curve[0, -1]), "sign_changes": float(scores["sign_changes"]), **each}

    def _score(self, answer: Answers, scores: State, batch: Batch) -> Scored:
        if batch.position == 0:
            _, parameters = _dense(answer)  # one that cannot be pruned is refused before it has learned
            scores = {**scores, "start": {k: v.clone() for k, v in parameters.items()}}
        logits = answer(batch.x, batch.task)
        online = accuracy_of(None if logits is None else own_logits(logits, batch.y, self.stream.own), batch.y)
        return recent.counted(scores, batch, online)

    def _with_curve(self, answer: Answers, known: Scored) -> Scored:
        (whole, theta), device = _dense(answer), answer.state["step"].device
        network = as_powerprop(whole)
        start = {k: v.to(device) for k, v in known.scores["start"].items()}

        def ranking(params: Params) -> Ranking:
            return Ranking({k: params[k] for k in network.kernels}, self.config.scope, network.head)

        first, last = ranking(start), ranking(theta)
        x, y = (t.to(device) for t in self.stream.test_set(self.stream.tasks - 1))
        effective, columns = network.effective(theta).theta, []
        for p in self.config.kept:
            masks = last.keep(p)
            with torch.no_grad():
                logits = own_logits(network.network(masked(effective, masks), x), y, self.stream.own)
            overlap = MaskSet(masks).overlap(MaskSet(first.keep(p)))
            columns.append([accuracy_of(logits, y), float(F.cross_entropy(logits, y)), overlap])
        curve = torch.tensor(columns, dtype=torch.float64).T.contiguous()
        found = survivors(network.effective(start).theta, effective, last.keep(SURVIVING))
        changed = torch.tensor(found.flipped / found.kept, dtype=torch.float64)
        scores = {**known.scores, "curve": curve, "sign_changes": changed}
        return Scored(scores, {**known.record, _SURVIVORS: dataclasses.asdict(found)})


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One replica's. Attributes: kept: the fractions, [P]; accuracy, overlap: at each of them, [P]."""

    kept: np.ndarray
    accuracy: np.ndarray
    overlap: np.ndarray


def read_curve(metrics: Mapping[str, float]) -> Curve | None:
    """The curve in a replica's final ``metrics``; None where nothing was pruned."""
    fractions = sorted({name.partition(_KEPT)[2] for name in metrics if _KEPT in name}, key=float)
    if not fractions:
        return None
    accuracy, overlap = (np.array([metrics[f"{k}{_KEPT}{p}"] for p in fractions]) for k in ("accuracy", "overlap"))
    return Curve(kept=np.array([float(p) for p in fractions]), accuracy=accuracy, overlap=overlap)


def read_survivors(step: Mapping[str, Any]) -> Survivors | None:
    """The weights that survive, from the record of the last position; None where it says nothing of them."""
    return Survivors(**step[_SURVIVORS]) if _SURVIVORS in step else None


def _dense(answer: Answers) -> Dense:
    """The network that answers and its parameters, all in use.

    Raises:
        SpecError: a method that answers otherwise, or that has masks.
    """
    learner, state = answer.learner, answer.state
    dense = learner.dense(state) if isinstance(learner, Prunable) else None
    if dense is None:
        fix = "pruning-curve prunes plain networks: use online-sgd, er, or static-sparse with kept = 1"
        raise SpecError("learner.kind", type(learner).__name__, fix)
    return dense


PROTOCOLS = (
    ProtocolKind(
        name="pruning-curve",
        config=PruningCurveConfig,
        build=PruningCurve,
        headline=PruningCurve.headline,
        summary="accuracy against the fraction of weights kept, pruned once the stream has ended",
        journalled=("accuracy",),
    ),
)
