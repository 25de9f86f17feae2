"""What specifications say of themselves, read as text: quick, because no component is imported and nothing validated.

For lists and completion; whoever runs a specification reads it with `frisket.platform.specs.experiment.load_spec`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from frisket.platform.specs.text import DEFAULT_KINDS, parse, spec_names, text_of
from frisket.tune_configs.real_data import real_data


@dataclass(frozen=True, kw_only=True)
class Outline:
    """One of tune_configs' specifications.

    Attributes:
        name: its name.
        raw: what its file says.
    """

    name: str
    raw: Mapping[str, Any]

    @property
    def seeds(self) -> int | None:
        """How many; None where it leaves that to frisket."""
        return self.raw.get("seeds")

    @property
    def answers_to(self) -> str:
        """Where the number is printed that it answers to; empty for nowhere."""
        return (self.raw.get("published") or {}).get("source", "")

    @property
    def needs(self) -> str:
        """The real data set it cannot do without; empty where embedded data will do."""
        needed = real_data(self.name)
        return "" if needed is None else needed.name

    @property
    def axes(self) -> Mapping[str, Any]:
        """What it searches over; empty for a plain experiment."""
        return (self.raw.get("tune") or {}).get("axes", {})

    @property
    def points(self) -> int:
        """How many points its search has."""
        return self.raw["tune"].get("samples") or math.prod(map(len, self.axes.values()))

    def kinds(self, section: str) -> list[str]:
        """The kinds of ``section``: those of its variants, in order, where they say one, or its own."""
        own = self._kind(self.raw, section) or DEFAULT_KINDS.get(section)
        variants = list((self.raw.get("variants") or {}).values())
        found = [self._kind(partial, section) or own for partial in variants] or [own]
        return [kind for kind in found if kind is not None]

    @staticmethod
    def _kind(raw: Mapping[str, Any], section: str) -> str | None:
        return (raw.get(section) or {}).get("kind")


def outlines() -> Iterator[Outline]:
    """All of tune_configs' specifications, by name."""
    for name in spec_names():
        yield Outline(name=name, raw=parse(text_of(name), name))


def known_kinds(section: str) -> list[str]:
    """The kinds of ``section`` that specifications name, sorted; frisket's own are all among them."""
    return sorted({kind for outline in outlines() for kind in outline.kinds(section)})
