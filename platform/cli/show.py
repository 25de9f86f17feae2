"""``frisket show`` and ``frisket schema``: what a specification says completely, and what one may say."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Annotated, Any

import typer

from frisket.platform.cli import complete
from frisket.platform.cli.output import JsonFile, require_folders, write
from frisket.platform.cli.run import Overrides

MOVES: Mapping[str, str] = MappingProxyType(
    {"numbers": "", "rounding": "moves rounding alone", "nothing": "moves no number"}
)
"""What is said of a field."""


def show(
    spec: Annotated[
        str,
        typer.Argument(
            metavar="SPEC", help="Name (`frisket list specs`) or a YAML file.", autocompletion=complete.specs
        ),
    ],
    overrides: Overrides = None,
    variant: Annotated[
        str | None, typer.Option(metavar="LABEL", help="A variant, or a point of a search, instead of the headline.")
    ] = None,
    json_file: JsonFile = None,
    as_yaml: Annotated[
        bool, typer.Option("--yaml", help="Print the complete specification, to be kept or run again.")
    ] = False,
) -> None:
    """Show a specification completely: every value and where it comes from. Runs and fetches nothing."""
    from frisket.platform.verbs import show as work

    require_folders(json_file, None)
    if as_yaml:
        typer.echo(work.complete(spec, overrides or (), variant=variant), nl=False)
    if as_yaml and json_file is None:
        return
    shown = work.show(spec, overrides or (), variant=variant)
    write(json_file, None, shown, list)
    if not as_yaml:
        for line in _lines(shown):
            typer.echo(line)


def schema() -> None:
    """Print the JSON Schema of specifications, for editors: frisket schema > frisket.schema.json."""
    from frisket.platform.specs.schema import schema as make

    typer.echo(json.dumps(make(), indent=1))


def _lines(shown: Mapping[str, Any]) -> Iterator[str]:
    from frisket.platform.cli.columns import aligned, window

    width = window()
    yield shown["spec"]
    yield ""
    yield from aligned(list(_about(shown)), width)
    yield ""
    yield from aligned([(row["field"], written(row["value"]), _origin(row, shown)) for row in shown["values"]], width)
    if shown["variants"]:
        yield ""
        yield from aligned([(f"variant {label}", _change(c)) for label, c in shown["variants"].items()], width)


def _about(shown: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    from frisket.platform.run.aggregate import spread_text

    search, published = shown["search"], shown["published"]
    yield "file", shown["file"]
    if shown["variant"] is not None:
        yield "point" if search else "variant", shown["variant"]
    counts = [f"{shown['seeds']} seed{'s' * (shown['seeds'] != 1)}"]
    if search is not None:
        counts.insert(0, f"{search['points']} points by {search['metric']}")
    elif shown["variants"]:
        counts.insert(0, f"{len(shown['variants'])} variants")
    yield "replicas", f"{shown['replicas']}: {' x '.join(counts)}"
    yield "data", "\n".join(map(_data_set, shown["data"]))
    if published is not None:
        n = published.get("n")
        yield "published", f"{published['source']}, {'n not given' if n is None else f'n = {n}'}"
        for name, metric in published["metrics"].items():
            yield f"  {name}", spread_text(metric["mean"], metric.get("std"), n, form="g")


def _data_set(entry: Mapping[str, Any]) -> str:
    what = "" if entry["what"] is None else f": {entry['what']}"
    return f"{entry['name']}{what}" + (f" (embedded: {entry['stand_in']})" if entry["stand_in"] else "")


def _origin(row: Mapping[str, Any], shown: Mapping[str, Any]) -> str:
    where = row["where"]
    said = {
        "default": f"default of {where}",
        "file": "the file" if where is None else f"line {where}",
        "variant": f"{'point' if shown['search'] else 'variant'} {where}",
        "override": f"override {where}",
    }[row["from"]]
    return "; ".join(filter(None, (said, MOVES[row["moves"]], "searched" if row["searched"] else "")))


def _change(fields: Mapping[str, Any]) -> str:
    return "\n".join(f"{name}={written(value)}" for name, value in fields.items()) or "the headline"


def written(value: Any) -> str:
    """As an override would say it."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
