"""``frisket check``: whether a module's methods, networks and streams hold to what every one must."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from frisket.platform.cli.output import JsonFile, require_folders, write

MISTAKE = 2
"""Exit code where something does not hold: the user can mend it."""


def check(
    module: Annotated[str, typer.Argument(metavar="MODULE", help="A file (my_method.py) or a module's name.")],
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="These of its rows alone.")] = None,
    json_file: JsonFile = None,
) -> None:
    """Try the methods, networks and streams that a module declares: what must hold of each, and does it?"""
    from frisket.platform.cli.columns import aligned, window
    from frisket.platform.verbs.check import check as work

    require_folders(json_file, None)
    found = work(module, names or ())
    write(json_file, None, found, list)
    for row in found["rows"]:
        typer.echo(f"{row['section']} {row['name']}")
        for line in aligned(list(_cells(row)), window()):
            typer.echo(f"  {line}")
        typer.echo(_summary(row))
    if not found["ok"]:
        raise typer.Exit(MISTAKE)


def _cells(row: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    said: dict[str, str] = {}
    for finding in row["findings"]:
        name, seen = finding["name"], finding["seen"]
        verdict = "holds" if finding["ok"] else f"does not: {seen}"
        if not finding["ok"] and said.setdefault(seen, name) != name:
            verdict = f"does not: as {said[seen]!r}"  # an early mistake is in the way of most
        yield name, finding["asserts"], verdict


def _summary(row: Mapping[str, Any]) -> str:
    broken = [finding["name"] for finding in row["findings"] if not finding["ok"]]
    count = len(row["findings"])
    return f"{row['name']}: all {count} hold" if not broken else f"{row['name']}: {len(broken)} of {count} do not hold"
