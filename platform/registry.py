"""Every kind of component a specification can name, by section."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol

from frisket.algos.registry import LEARNERS, NETWORKS
from frisket.envs.registry import STREAMS
from frisket.platform.protocols import online_accuracy
from frisket.platform.protocols.protocol import Protocol as Measurement


@dataclass(frozen=True, kw_only=True)
class ProtocolEntry:
    """Attributes: config: the configuration dataclass; build: ``(config, domains) -> Protocol``; summary: one line."""

    config: type[Any]
    build: Callable[[Any, Sequence[str]], Measurement]
    summary: str


PROTOCOLS: Mapping[str, ProtocolEntry] = MappingProxyType(
    {
        "online-accuracy": ProtocolEntry(
            config=online_accuracy.OnlineAccuracyConfig,
            build=online_accuracy.OnlineAccuracy,
            summary="accuracy on every batch before its labels are seen",
        )
    }
)


class Configured(Protocol):
    """What all entries have in common."""

    @property
    def config(self) -> type[Any]: ...


SECTIONS: Mapping[str, Mapping[str, Configured]] = MappingProxyType(
    {"stream": STREAMS, "network": NETWORKS, "learner": LEARNERS, "protocol": PROTOCOLS}
)
