"""What a field of a configuration moves: the numbers, as almost all do; rounding alone; or nothing.

A field says so where it is declared, and whoever asks whether two experiments are the same work reads it there::

    readers: int = field(default=8, metadata=NOTHING)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

_KEY = "moves"

NOTHING: Mapping[str, str] = MappingProxyType({_KEY: "nothing"})
"""Metadata of a field that moves no number."""

ROUNDING: Mapping[str, str] = MappingProxyType({_KEY: "rounding"})
"""Metadata of a field that moves numbers by rounding alone."""


def idle(config: Any, *, rounding: bool) -> frozenset[str]:
    """Names of the fields of the dataclass ``config`` that move no number; with ``rounding`` also of those that move
    numbers by rounding alone."""
    ways = {NOTHING[_KEY], *([ROUNDING[_KEY]] if rounding else [])}
    return frozenset(f.name for f in dataclasses.fields(config) if f.metadata.get(_KEY) in ways)
