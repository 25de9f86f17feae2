"""Every kind of component a specification can name, by section: frisket's own, those of installed packages, and those
of the modules a specification uses (`frisket.platform.specs.uses`)."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from frisket.algos.kinds import LEARNERS, NETWORKS
from frisket.algos.learner import Method
from frisket.algos.networks.kind import NetworkKind
from frisket.declared import installed, joined, own, rows
from frisket.envs.data import DatasetKind, OwnData
from frisket.envs.kinds import STREAMS
from frisket.envs.streams.kind import StreamKind
from frisket.platform.protocols.protocol import ProtocolKind

PROTOCOLS: Mapping[str, ProtocolKind] = own("frisket.platform.protocols", "PROTOCOLS", ProtocolKind)

SECTIONS = ("stream", "network", "learner", "protocol")
"""Names of a specification's sections."""

Row = StreamKind | NetworkKind | Method | ProtocolKind | DatasetKind
"""What a module may declare."""

ATTRIBUTES: Mapping[type[Any], str] = MappingProxyType(
    {
        StreamKind: "STREAMS",
        NetworkKind: "NETWORKS",
        Method: "METHODS",
        ProtocolKind: "PROTOCOLS",
        DatasetKind: "DATASETS",
    }
)
"""Kind of row to the name modules declare it under."""


@dataclass(frozen=True, kw_only=True)
class Kinds:
    """What there is to name. Attributes: streams, networks, learners, protocols: by name; datasets: those of modules;
    frisket's own are in `frisket.envs.data`."""

    streams: Mapping[str, StreamKind]
    networks: Mapping[str, NetworkKind]
    learners: Mapping[str, Method]
    protocols: Mapping[str, ProtocolKind]
    datasets: Mapping[str, DatasetKind] = field(default_factory=dict)

    @property
    def own_data(self) -> dict[str, OwnData]:
        """Where the data sets of modules come from, by name."""
        return {name: row.data for name, row in self.datasets.items()}

    @property
    def sections(self) -> Mapping[str, Mapping[str, Any]]:
        """The same by the name of a specification's section."""
        return dict(zip(SECTIONS, (self.streams, self.networks, self.learners, self.protocols), strict=True))

    def with_rows(self, found: Iterable[Row]) -> Kinds:
        """These and the rows ``found``.

        Raises:
            SpecError: a name is taken.
        """
        parts: dict[type[Any], list[Any]] = {kind: [] for kind in ATTRIBUTES}
        for row in found:
            parts[type(row)].append(row)
        return Kinds(
            streams=joined(parts[StreamKind], "STREAMS", self.streams),
            networks=joined(parts[NetworkKind], "NETWORKS", self.networks),
            learners=joined(parts[Method], "METHODS", self.learners),
            protocols=joined(parts[ProtocolKind], "PROTOCOLS", self.protocols),
            datasets=joined(parts[DatasetKind], "DATASETS", self.datasets),
        )


def rows_of(module: Any) -> tuple[Row, ...]:
    """Everything ``module`` declares. Raises `SpecError` where a declaration is not what it should be."""
    return tuple(row for kind, attribute in ATTRIBUTES.items() for row in rows(module, attribute, kind))


@functools.cache
def known() -> Kinds:
    """frisket's own and those of installed packages (entry points ``frisket.methods``, ``.streams``, ``.networks``,
    ``.protocols``, ``.datasets``, each naming a module)."""
    base = Kinds(streams=STREAMS, networks=NETWORKS, learners=LEARNERS, protocols=PROTOCOLS)
    groups = ((name, kind) for kind, name in ATTRIBUTES.items())
    return base.with_rows(
        row for attribute, kind in groups for row in installed(f"frisket.{attribute.lower()}", attribute, kind)
    )
