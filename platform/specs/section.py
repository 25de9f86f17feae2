"""One component of a specification: the kind it names, that kind's configuration, and what declares the kind."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar, get_args

from frisket.algos.learner import Method
from frisket.algos.networks.kind import NetworkKind
from frisket.envs.streams.kind import StreamKind
from frisket.errors import SpecError, nearest
from frisket.moves import NOTHING, idle
from frisket.platform.protocols.protocol import ProtocolKind
from frisket.platform.specs.kinds import Kinds
from frisket.platform.specs.text import DEFAULT_KINDS
from frisket.platform.specs.typed import typed

R = TypeVar("R", Method, NetworkKind, StreamKind, ProtocolKind)

StreamSource = Literal["auto", "service", "in-process"]


@dataclass(frozen=True, kw_only=True)
class Section(Generic[R]):
    """Attributes: kind: its name; config: that kind's configuration; row: what declares the kind."""

    kind: str
    config: Any
    row: R = field(compare=False, repr=False)

    def as_dict(self) -> dict[str, Any]:
        """``{"kind": ..., **fields}``."""
        return {"kind": self.kind, **dataclasses.asdict(self.config)}

    def work(self, *, exact: bool) -> dict[str, Any]:
        """`as_dict` without the fields that move no number and, unless ``exact``, those that move rounding alone."""
        left_out = idle(self, rounding=not exact) | idle(self.config, rounding=not exact)
        return {name: value for name, value in self.as_dict().items() if name not in left_out}


@dataclass(frozen=True, kw_only=True)
class StreamSection(Section[StreamKind]):
    """Attributes: source: who makes the batches: a ``service``, every worker for itself ``in-process``, or ``auto``: a
    service where the workers span nodes."""

    source: StreamSource = field(default="auto", metadata=NOTHING)

    def as_dict(self) -> dict[str, Any]:
        return {**super().as_dict(), "source": self.source}


def read_section(name: str, raw: Any, kinds: Kinds) -> Section[Any]:
    """The section ``name`` of a specification from what it says.

    Raises:
        SpecError: no such kind, or a field of it that is wrong.
    """
    if not isinstance(raw, dict):
        raise SpecError(name, raw, "must be a mapping with a 'kind'")
    fields, known = dict(raw), kinds.sections[name]
    kind = fields.pop("kind", DEFAULT_KINDS.get(name))
    source = fields.pop("source", "auto") if name == "stream" else None
    if kind is None:
        raise SpecError(f"{name}.kind", None, f"is required; known: {', '.join(sorted(known))}")
    if not isinstance(kind, str) or kind not in known:
        raise SpecError(f"{name}.kind", kind, nearest(str(kind), known))
    config = typed(known[kind].config, fields, name)
    if source is None:
        return Section(kind=kind, config=config, row=known[kind])
    if source not in get_args(StreamSource):
        raise SpecError("stream.source", source, nearest(str(source), get_args(StreamSource)))
    return StreamSection(kind=kind, config=config, row=known[kind], source=source)
