"""``frisket list learners NAME`` and its like: one kind, with its arguments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from frisket.platform.cli.show import MOVES, written

if TYPE_CHECKING:
    from frisket.platform.verbs.entries import SectionName


def show_entry(section: SectionName, name: str) -> None:
    """Print what is known of a kind; `frisket.errors.SpecError` for a name that is none."""
    from frisket.platform.verbs.entries import entry

    for line in _lines(entry(section, name)):
        typer.echo(line)


def _lines(entry: Mapping[str, Any]) -> Iterator[str]:
    from frisket.platform.cli.columns import aligned, window

    width = window()
    yield from aligned([(entry["name"], entry["summary"])], width)
    parts = {
        "arguments": [_argument(one) for one in entry["arguments"]],
        "declares": [
            (name, _words(fact["value"]), fact["meaning"].rstrip(".")) for name, fact in entry["facts"].items()
        ],
        "logged": list(entry["logged"].items()),
        "page": [] if entry["page"] is None else [(_near(entry["page"]),)],
        "configuration": [(entry["config"],)],
        "used by": [(spec,) for spec in entry["specs"]] or [("no specification",)],
    }
    for heading, rows in parts.items():
        if rows:
            yield ""
            yield heading
            yield from (f"  {line}" for line in aligned(rows, None if width is None else width - 2))


def _argument(one: Mapping[str, Any]) -> tuple[str, str, str, str]:
    default = "required" if one["required"] else written(one["default"])
    said = (one["meaning"].rstrip("."), one["allowed"] and f"must be {one['allowed']}", MOVES[one["moves"]])
    return one["name"], one["type"], default, "; ".join(filter(None, said))


def _words(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return written(value)


def _near(path: str) -> str:
    """``path`` from here, where it lies below."""
    return str(Path(path).relative_to(Path.cwd())) if Path(path).is_relative_to(Path.cwd()) else path
