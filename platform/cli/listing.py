"""``frisket list``: what there is to run and to run it with."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from frisket.errors import SpecError
from frisket.platform.cli import complete
from frisket.platform.cli.entry import show_entry

if TYPE_CHECKING:
    from rich.table import Table

    from frisket.platform.verbs.entries import SectionName


class Kind(str, enum.Enum):
    """What to list."""

    specs = "specs"
    streams = "streams"
    networks = "networks"
    learners = "learners"
    protocols = "protocols"
    tables = "tables"
    data = "data"


_SECTION: Mapping[Kind, SectionName] = MappingProxyType(
    {Kind.streams: "stream", Kind.networks: "network", Kind.learners: "learner", Kind.protocols: "protocol"}
)
"""Those that are kinds of a section of a specification."""


def show(
    what: Annotated[Kind, typer.Argument(help="What to list.")],
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME]",
            help="One stream, network, learner or protocol: its arguments.",
            autocompletion=complete.kinds,
        ),
    ] = None,
) -> None:
    """List specifications, streams, networks, learners, protocols, published tables or data sets; or describe one."""
    from frisket.platform.cli.tables import show_table

    if name is not None:
        if what not in _SECTION:
            raise SpecError("NAME", name, f"leave it out: only {', '.join(_SECTION)} have a page of their own")
        show_entry(_SECTION[what], name)
        return
    if what is Kind.data:
        from frisket.platform.cli.data import list_data

        list_data()
        return
    show_table({Kind.specs: _specs, Kind.tables: _tables}[what]() if what not in _SECTION else _kinds(_SECTION[what]))


def _specs() -> Table:
    from rich.table import Table

    from frisket.platform.specs.outline import outlines

    table = Table("spec", "stream", "learner", "seeds", "answers to", "needs data")
    for spec in outlines():
        learners = ", ".join(spec.kinds("learner"))
        if spec.axes:
            learners = f"{learners}: {spec.points} points over {', '.join(spec.axes)}"
        table.add_row(spec.name, spec.kinds("stream")[0], learners, str(spec.seeds or ""), spec.answers_to, spec.needs)
    return table


def _kinds(section: SectionName) -> Table:
    from rich.table import Table

    from frisket.platform.specs.kinds import known

    table = Table(section, "what it is", "fields")
    for name, entry in known().sections[section].items():
        table.add_row(name, entry.summary, _fields(entry.config))
    return table


def _tables() -> Table:
    """The published tables `frisket reproduce` knows."""
    from rich.table import Table

    from frisket.platform.specs.text import spec_names
    from frisket.platform.tables.table import load_table, table_names

    shown = Table()
    for heading in ("table", "what it shows", "rows", "columns", "can be run"):
        shown.add_column(heading, overflow="fold", no_wrap=heading in ("table", "columns"))
    for name in table_names():
        table = load_table(name)
        specs = [table.cell(row, column).spec for row, cells in table.rows.items() for column in cells]
        ready = sum(spec in spec_names() for spec in specs)
        shown.add_row(
            name, f"{table.title} ({table.source})", ", ".join(table.rows), "\n".join(table.columns),
            f"{ready} of {len(specs)} cells",
        )  # fmt: skip
        shown.add_section()
    return shown


def _fields(config: type[Any]) -> str:
    import dataclasses

    return ", ".join(field.name for field in dataclasses.fields(config))
