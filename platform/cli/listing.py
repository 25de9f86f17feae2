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
    from rich.console import Console

    if what is Kind.data:
        from frisket.platform.cli.data import list_data

        list_data()
        return
    Console().print(
        {Kind.specs: _specs, Kind.streams: _streams, Kind.learners: _learners, Kind.tables: _tables}[what]()
    )


def _specs() -> Table:
    from rich.table import Table

    from frisket.platform.spec import load_spec, spec_names

    table = Table("spec", "stream", "learner", "seeds", "answers to")
    for name in spec_names():
        experiment = load_spec(name)
        if experiment.tune is None:
            kinds = ", ".join(experiment.variant(v).learner.kind for v in experiment.variants)
            learners = kinds or experiment.learner.kind
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

    from frisket.envs.registry import STREAMS

    table = Table("stream", "what it is", "fields")
    for name, entry in STREAMS.items():
        table.add_row(name, entry.summary, _fields(entry.config))
    return table


def _learners() -> Table:
    from rich.table import Table

    from frisket.algos.registry import LEARNERS

    table = Table("learner", "what it is", "fields")
    for name, entry in LEARNERS.items():
        table.add_row(name, entry.summary, _fields(entry.config))
    return table


def _tables() -> Table | str:
    """The published tables that specifications answer to."""
    from rich.table import Table

    from frisket.platform.spec import load_spec, spec_names

    rows: dict[str, list[str]] = {}
    for name in spec_names():
        published = load_spec(name).published
        if published is not None:
            rows.setdefault(published.table, []).append(name)
    if not rows:
        return "no published table yet: no specification here answers to one"
    table = Table("table", "specs that answer to it; run them one by one")
    for name, specs in rows.items():
        table.add_row(name, "\n".join(specs))
    return table


def _fields(config: type[Any]) -> str:
    import dataclasses

    return ", ".join(field.name for field in dataclasses.fields(config))
