"""Every kind of component a specification can name, by section."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol

from frisket.algos.kinds import LEARNERS, NETWORKS
from frisket.envs.kinds import STREAMS
from frisket.envs.stream import Stream
from frisket.platform.protocols import (
    held_out_accuracy,
    log_likelihood,
    online_accuracy,
    protected_accuracy,
    pruning_curve,
    retained_accuracy,
)
from frisket.platform.protocols.protocol import Protocol as Measurement


@dataclass(frozen=True, kw_only=True)
class ProtocolEntry:
    """Attributes:
    config: the configuration dataclass.
    build: ``(config, stream) -> Protocol``; raises `SpecError` for a stream it cannot measure on.
    headline: the metric an experiment is judged by.
    summary: one line.
    journalled: names of what it measures along the way; those with parts have them after a ``/``.
    final: names of what exists at the end alone.
    """

    config: type[Any]
    build: Callable[[Any, Stream], Measurement]
    headline: str
    summary: str
    journalled: tuple[str, ...]
    final: tuple[str, ...] = ()


PROTOCOLS: Mapping[str, ProtocolEntry] = MappingProxyType(
    {
        "online-accuracy": ProtocolEntry(
            config=online_accuracy.OnlineAccuracyConfig,
            build=lambda config, stream: online_accuracy.OnlineAccuracy(config, stream.domains),
            headline=online_accuracy.OnlineAccuracy.headline,
            summary="accuracy on every batch before its labels are seen",
            journalled=("accuracy",),
            final=("detection/f1", "detection/precision", "detection/recall"),
        ),
        "retained-accuracy": ProtocolEntry(
            config=retained_accuracy.RetainedAccuracyConfig,
            build=retained_accuracy.RetainedAccuracy,
            headline=retained_accuracy.RetainedAccuracy.headline,
            summary="accuracy on every task's test set after every task: RA, BTI, LA, FWT",
            journalled=("ra", "bti", "la", "fwt"),
        ),
        "protected-accuracy": ProtocolEntry(
            config=protected_accuracy.ProtectedAccuracyConfig,
            build=protected_accuracy.ProtectedAccuracy,
            headline=protected_accuracy.ProtectedAccuracy.headline,
            summary="as retained-accuracy, read as accuracy, forgetting and free capacity; tasks inferred",
            journalled=("accuracy", "forgetting", "capacity_free"),
        ),
        "pruning-curve": ProtocolEntry(
            config=pruning_curve.PruningCurveConfig,
            build=pruning_curve.PruningCurve,
            headline=pruning_curve.PruningCurve.headline,
            summary="accuracy against the fraction of weights kept, pruned once the stream has ended",
            journalled=("accuracy",),
        ),
        "log-likelihood": ProtocolEntry(
            config=log_likelihood.LogLikelihoodConfig,
            build=log_likelihood.LogLikelihood,
            headline=log_likelihood.LogLikelihood.headline,
            summary="importance-sampled log-likelihood of every task's test images, of generative models",
            journalled=("learned",),
            final=("log_likelihood", "forgetting"),
        ),
        "held-out-accuracy": ProtocolEntry(
            config=held_out_accuracy.HeldOutAccuracyConfig,
            build=held_out_accuracy.HeldOutAccuracy,
            headline=held_out_accuracy.HeldOutAccuracy.headline,
            summary="accuracy on the test pictures of one task, judged piece by piece",
            journalled=("accuracy", "loss"),
        ),
    }
)


class Configured(Protocol):
    """What all entries have in common."""

    @property
    def config(self) -> type[Any]: ...

    @property
    def summary(self) -> str: ...


SECTIONS: Mapping[str, Mapping[str, Configured]] = MappingProxyType(
    {"stream": STREAMS, "network": NETWORKS, "learner": LEARNERS, "protocol": PROTOCOLS}
)

DEFAULT_KINDS: Mapping[str, str] = MappingProxyType(
    {"stream": "osaka", "network": "conv4", "protocol": "online-accuracy"}
)
"""What a section is that names no kind; a learner must be named."""
