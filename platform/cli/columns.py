"""Rows as aligned columns: whole in a pipe, folded to the window on a terminal, names whole in both."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from itertools import zip_longest

_GAP = "  "
_LEAST = 16
"""No column is folded to fewer characters; a window narrower than that gets its columns one below the other."""


def window() -> int | None:
    """Characters in a line of the terminal; None where the output goes elsewhere and nothing is to be folded."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def aligned(rows: Sequence[Sequence[str]], width: int | None) -> Iterator[str]:
    """Lines of ``rows``, each of the same number of cells, in ``width`` characters where that can be done.

    The first cell of a row is its name and stays whole, as every word does; other text is folded. A row with a word
    that is too long for its column has its cells one below the other.

    Args:
        width: of a line; None for as much as is needed.
    """
    if not rows:
        return
    widths = _fitting([max(map(len, column)) for column in zip(*rows, strict=True)], width)
    for row in rows:
        if widths is None or any(_longest(cell) > room for cell, room in zip(row, widths, strict=True)):
            yield row[0]
            for cell in filter(None, row[1:]):
                yield from (f"{_GAP}{line}" for line in _folded(cell, (width or 0) - len(_GAP)))
            continue
        cells = [[row[0]], *(_folded(cell, room) for cell, room in zip(row[1:], widths[1:], strict=True))]
        for line in zip_longest(*cells, fillvalue=""):
            yield _GAP.join(text.ljust(room) for text, room in zip(line, widths, strict=True)).rstrip()


def _longest(text: str) -> int:
    """Characters of the longest word."""
    return max(map(len, text.split()), default=0)


def _fitting(widths: Sequence[int], width: int | None) -> list[int] | None:
    """``widths`` made to fit, the widest but the first taken from; None where they cannot be."""
    fitted = list(widths)
    while width is not None and (over := sum(fitted) + len(_GAP) * (len(fitted) - 1) - width) > 0:
        widest = max(range(1, len(fitted)), key=lambda i: fitted[i], default=0)
        if widest == 0 or fitted[widest] <= _LEAST:
            return None
        others = [w for i, w in enumerate(fitted) if i not in (0, widest)]
        fitted[widest] = max(fitted[widest] - over, min(max([_LEAST, *others]), fitted[widest] - 1))
    return fitted


def _folded(text: str, width: int) -> list[str]:
    folded = [
        textwrap.wrap(line, max(width, 1), break_long_words=False, break_on_hyphens=False) for line in text.split("\n")
    ]
    return [line for lines in folded for line in (lines or [""])]
