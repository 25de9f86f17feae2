"""What else there is to name: streams, networks, protocols."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from docs.tables.markdown import table
from frisket.platform.specs.kinds import known


def components_table(page: Path, words: Sequence[str]) -> str:
    """The kinds of a section (``stream``, ``network``, ``protocol``), each with its summary."""
    (section,) = words
    rows = ((f"`{name}`", row.summary) for name, row in known().sections[section].items())
    return table((section, "what it is"), rows)
