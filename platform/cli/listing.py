"""``frisket list``: what there is to run and to run it with."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.table import Table


class Kind(str, enum.Enum):
    """What to list."""

    specs = "specs"
    streams = "streams"
    learners = "learners"
    tables = "tables"
    data = "data"


def show(what: Annotated[Kind, typer.Argument(help="What to list.")]) -> None:
    """List specifications, streams, learners, published tables or data sets."""
    from frisket.platform.cli.tables import show_table

    if what is Kind.data:
        from frisket.platform.cli.data import list_data

        list_data()
        return
    show_table({Kind.specs: _specs, Kind.streams: _streams, Kind.learners: _learners, Kind.tables: _tables}[what]())


def _specs() -> Table:
    from rich.table import Table

    from frisket.platform.specs.experiment import load_spec
    from frisket.platform.specs.files import spec_names

    table = Table("spec", "stream", "learner", "seeds", "answers to")
    for name in spec_names():
        experiment = load_spec(name)
        if experiment.tune is None:
            learners = ", ".join(plan.learner.kind for plan in experiment.plans.values())
        else:
            learners = (
                f"{experiment.learner.kind}: {len(experiment.variants)} points over {', '.join(experiment.tune.axes)}"
            )
        published = experiment.published
        table.add_row(
            name, experiment.stream.kind, learners, str(experiment.seeds), published.source if published else ""
        )
    return table


def _streams() -> Table:
    from rich.table import Table

    from frisket.envs.kinds import STREAMS

    table = Table("stream", "what it is", "fields")
    for name, entry in STREAMS.items():
        table.add_row(name, entry.summary, _fields(entry.config))
    return table


def _learners() -> Table:
    from rich.table import Table

    from frisket.algos.kinds import LEARNERS

    table = Table("learner", "what it is", "fields")
    for name, entry in LEARNERS.items():
        table.add_row(name, entry.summary, _fields(entry.config))
    return table


def _tables() -> Table:
    """The published tables `frisket reproduce` knows."""
    from rich.table import Table

    from frisket.platform.specs.files import spec_names
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
