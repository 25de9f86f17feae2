"""Markdown tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table with a line for each of ``rows``."""
    lines = [_line(head), f"|{'---|' * len(head)}"]
    return "\n".join([*lines, *(_line([cell.replace("|", "\\|") for cell in row]) for row in rows)])


def code(words: Iterable[object]) -> str:
    """The words as code, parted by commas."""
    return ", ".join(f"`{word}`" for word in words)


def mark(flag: bool) -> str:
    """``yes`` or ``-``."""
    return "yes" if flag else "-"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
