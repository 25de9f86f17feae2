"""What there is to run: specifications by their names, and published tables."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from docs.tables.markdown import code, table
from docs.tables.numbers import answer
from docs.tables.numbers import specifications as all_specifications
from frisket.platform.run.aggregate import spread_text
from frisket.platform.specs.outline import Outline
from frisket.platform.specs.text import text_of
from frisket.platform.tables.table import load_table, table_names
from frisket.tune_configs.names import Name, parts


def osaka(page: Path, words: Sequence[str]) -> str:
    """The OSAKA specifications, a line for both values of p: what they are, in their own first line, and the published
    accuracies as fractions."""
    by_name = {outline.name: outline for outline in all_specifications() if not outline.axes}
    methods = [name.removeprefix("osaka/p90-") for name in by_name if name.startswith("osaka/p90-")]
    rows = []
    for method in methods:
        pair = [by_name[f"osaka/{p}-{method}"] for p in ("p90", "p98")]
        (said,) = {re.sub(r",? at p = 0\.\d+", "", _first_line(outline)) for outline in pair}
        rows.append((f"`{method}`", said, *map(_accuracy, pair)))
    return table(("spec: `osaka/p90-...`, `osaka/p98-...`", "what it is", "published, p = 0.90", "p = 0.98"), rows)


def specifications(page: Path, words: Sequence[str]) -> str:
    """The specifications of a family: streams that have the same methods in one line."""
    (family,) = words
    by_stream: dict[str, list[str]] = {}
    for named in _named():
        if named.family == family:
            method = "-".join(filter(None, (named.method, named.variant)))
            by_stream.setdefault(named.stream, []).append(method)
    together: dict[tuple[str, ...], list[str]] = {}
    for stream, methods in by_stream.items():
        together.setdefault(tuple(methods), []).append(stream)
    rows = ((code(f"{family}/{stream}-METHOD" for stream in streams), code(m)) for m, streams in together.items())
    return table(("specifications", "METHOD"), rows)


def searches(page: Path, words: Sequence[str]) -> str:
    """The specifications that are searches: what they are, in their own first line, and their axes."""
    found = (outline for outline in all_specifications() if outline.axes)
    rows = ((f"`{one.name}`", _first_line(one), code(one.axes), str(one.points)) for one in found)
    return table(("specification", "what it is", "axes", "points"), rows)


def names(page: Path, words: Sequence[str]) -> str:
    """What stands for a kind of learner in names."""
    found: dict[tuple[str, str], list[str]] = {}
    for outline in all_specifications():
        kind = outline.kinds("learner")[0]
        named = parts(outline.name, kind)
        if named is not None and named.method != kind:
            families = found.setdefault((named.method, kind), [])
            families += [] if named.family in families else [named.family]
    rows = ((f"`{word}`", f"`{kind}`", code(families)) for (word, kind), families in sorted(found.items()))
    return table(("METHOD", "learner", "family"), rows)


def tables(page: Path, words: Sequence[str]) -> str:
    """The published tables."""
    given = {name: load_table(name) for name in table_names()}
    rows = ((f"`{name}`", one.title, one.source, str(sum(map(len, one.rows.values())))) for name, one in given.items())
    return table(("table", "what it shows", "printed in", "cells"), rows)


def _named() -> list[Name]:
    found = (parts(outline.name, outline.kinds("learner")[0]) for outline in all_specifications())
    return [named for named in found if named is not None]


def _first_line(outline: Outline) -> str:
    return text_of(outline.name).partition("\n")[0].removeprefix("# ").rstrip(".")


def _accuracy(outline: Outline) -> str:
    given = answer(outline)
    said: Mapping[str, float] | None = given.metrics.get("accuracy")
    return "-" if said is None else spread_text(said["mean"], said.get("std"), given.n)
