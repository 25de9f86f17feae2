"""``frisket data``: what data sets there are, which are here, and getting the ones that are not."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from frisket.platform.cli.groups import group, verb

if TYPE_CHECKING:
    from frisket.envs.data import FileReport

app = group("List, fetch and verify data sets.")

_Names = Annotated[
    list[str] | None, typer.Argument(metavar="[NAME]...", help="Published data sets; all if none is named.")
]
_DataDir = Annotated[
    Path | None, typer.Option("--data-dir", help="Folder of data sets, looked at before FRISKET_DATA and the cache.")
]


@verb(app, "list")
def list_data(data_dir: _DataDir = None) -> None:
    """Show every data set, and whether it is on this machine."""
    from rich.table import Table

    from frisket.envs.data import CLASS_FOLDERS, EMBEDDED, FOLDERS, SOURCES, has_class_folders, verify
    from frisket.envs.data.folders import is_here
    from frisket.envs.data.sources import CANONICAL
    from frisket.platform.cli.tables import show_table

    table = Table("name", "kind", "state", "stand-in", "licence", "what")
    for name, source in SOURCES.items():
        rows = verify([name], data_dir)
        named, usable = {row.file for row in rows}, {row.file: row.form for row in rows if row.usable}
        forms = {form for form in usable.values() if form != CANONICAL}
        state = ", ".join(["here", *forms]) if len(usable) == len(named) else f"{len(usable)} of {len(named)} files"
        state = "here, class folders" if has_class_folders(name, data_dir) else state
        table.add_row(name, "real", state, source.stand_in, source.licence, source.title)
    for name, source in FOLDERS.items():
        state = "here" if is_here(source, data_dir) else "not here"
        table.add_row(name, "real", state, source.stand_in, source.licence, source.title)
    for name, source in CLASS_FOLDERS.items():
        if name not in SOURCES:
            state = "here" if has_class_folders(name, data_dir) else "not here"
            table.add_row(name, "real", state, source.stand_in, source.licence, source.title)
    for name, entry in EMBEDDED.items():
        table.add_row(name, "embedded", "here", "", entry.licence, entry.title)
    show_table(table)


@verb(app)
def fetch(names: _Names = None, data_dir: _DataDir = None) -> None:
    """Download what is missing or damaged, checked, into --data-dir (else the cache folder)."""
    from frisket.envs.data import fetch as fetch_data

    _show(fetch_data(names or [], data_dir))


@verb(app)
def verify(names: _Names = None, data_dir: _DataDir = None) -> None:
    """Check every file against its published hash; exit code 2 if one is missing or damaged."""
    from frisket.envs.data import verify as verify_data

    rows = verify_data(names or [], data_dir)
    _show(rows)
    good = {(row.dataset, row.file) for row in rows if row.usable}
    unusable = [row for row in rows if (row.dataset, row.file) not in good]
    if unusable:
        raise unusable[0].error()


def _show(rows: list[FileReport]) -> None:
    from rich.table import Table

    from frisket.platform.cli.tables import show_table

    colours = {"ok": "green", "repacked": "green", "damaged": "red", "missing": "yellow"}
    table = Table("data set", "file", "form", "status", "expected sha256", "found sha256", "where")
    for row in rows:
        status = f"[{colours[row.status]}]{row.status}[/]"
        table.add_row(row.dataset, row.file, row.form, status, row.expected[:12], row.found[:12] or "-", str(row.path))
    show_table(table)
