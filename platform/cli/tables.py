"""Tables for a terminal of any width and for pipes: what is in a cell is always whole.

On a terminal wide enough for every word it is a table with rules. On a narrower one every row becomes a paragraph: its
name, then a line per column. In a pipe or a file it is one plain line per row, columns aligned, for ``grep`` and the
like.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import zip_longest

from rich.cells import cell_len
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from frisket.platform.cli.columns import aligned

_FRAME = 3  # what a column takes beside its content: a rule and a space on either side


def show_table(table: Table, console: Console | None = None) -> None:
    """Print ``table``, whose first column holds the rows' names. A line break in a head is where it may be broken, one
    in a cell divides items.

    Args:
        table: cells are strings (rich's markup) or `Text`.
        console: where to; None for standard output.
    """
    console = console or Console()
    if not console.is_terminal:
        _lines(table, console)
        return
    table.columns[0].no_wrap = True
    needed = [_width(column, _line if column.no_wrap else _word) for column in table.columns]
    wanted = [_width(column, _line) for column in table.columns]
    room = console.width - _FRAME * len(needed) - 1
    if sum(needed) > room:
        _paragraphs(table, console)
        return
    spare = room - sum(needed)
    for column, least, most in zip(table.columns, needed, wanted, strict=True):
        column.width = least + min(most - least, spare)  # the columns before take what they want of the room first
        spare -= column.width - least
    console.print(table)


def _lines(table: Table, console: Console) -> None:
    """One plain line per row."""
    if table.title:
        _print(console, _plain(table.title))
    head, rows = _heads(table), _rows(table, "; ")
    _print(console, "\n".join(aligned([head, *rows] if any(head) else rows, None)))


def _paragraphs(table: Table, console: Console) -> None:
    """Every row as its name and a line for each other column that has something to say."""
    head = _heads(table)
    if table.title:
        _print(console, _plain(table.title))
    for name, *cells in _rows(table, ", "):
        _print(console, name or "-")
        for what, cell in zip(head[1:], cells, strict=True):
            if cell:
                _print(console, f"  {what}: {cell}" if what else f"  {cell}")


def _print(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)


def _heads(table: Table) -> list[str]:
    return [_plain(column.header).replace("\n", "") for column in table.columns]


def _rows(table: Table, between: str) -> list[list[str]]:
    columns = ([_plain(cell).replace("\n", between) for cell in column.cells] for column in table.columns)
    return [list(row) for row in zip_longest(*columns, fillvalue="")]


def _plain(cell: object) -> str:
    """The text of a cell, without markup."""
    return cell.plain if isinstance(cell, Text) else Text.from_markup(str(cell)).plain


def _width(column: Column, piece: Callable[[str], int]) -> int:
    return max((piece(_plain(cell)) for cell in (column.header, *column.cells)), default=0)


def _line(text: str) -> int:
    return max(map(cell_len, text.split("\n")))


def _word(text: str) -> int:
    return max(map(cell_len, text.split()), default=0)
