"""Published numbers beside ours: what the specifications answer to, and what the committed results hold.

A number of ours is that of ``docs/results/**/cells/FILE.json``, as ``frisket run --json`` wrote it. Where FILE is the
end of its specification's name, the specification was run as it is; any other file is a run of it with other settings.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from docs.tables.markdown import code, table
from docs.tables.methods import on_page
from frisket.platform.specs.kinds import PROTOCOLS
from frisket.platform.specs.outline import Outline, outlines
from frisket.platform.specs.text import parse
from frisket.platform.tables.table import Cell, Metric, Table, load_table, table_names
from frisket.platform.tables.verdict import Number, number_text

RESULTS = Path(__file__).resolve().parents[1] / "results"
GENERATIVE = "log-likelihood"
"""The protocol whose specifications stand on a page of their own, and not on their methods'."""
_BESIDE: Mapping[str, tuple[str, ...]] = MappingProxyType({"ra": ("bti",)})
"""What is shown beside a headline."""


class Printed(NamedTuple):
    """What a source prints. Attributes: metrics: name to ``{mean, std}``; n: seeds; source: where; searched: settings
    that are ours and were searched."""

    metrics: Mapping[str, Mapping[str, float]]
    n: int | None
    source: str
    searched: Sequence[str] = ()


class Ours(NamedTuple):
    """A committed result. Attributes: spec: what was run; path: its file; summary: metric to ``{mean, std, n}``."""

    spec: str
    path: Path
    summary: Mapping[str, Mapping[str, Any]]


def numbers(page: Path, words: Sequence[str]) -> str:
    """The specifications of a page's methods; with a protocol's name those that are measured by it. Each with its
    command, its published number and ours."""
    groups: dict[tuple[str, ...], list[Sequence[str]]] = {}
    for outline in specifications():
        if (words and words[0] in outline.kinds("protocol")) or (not words and _belongs(outline, page)):
            shown = headlines(outline)
            groups.setdefault(shown, []).extend(_rows(outline, shown, page))
    return "\n\n".join(
        table(("command", f"published: {_labels(shown)}", "printed in", "ours"), rows) for shown, rows in groups.items()
    )


def printed(page: Path, words: Sequence[str]) -> str:
    """The first metric of a published table, as it is printed, with the specifications that answer to a row."""
    (name,) = words
    given = load_table(name)
    metric, shown = next(iter(given.metrics.items()))
    rows = []
    for label, cells in given.rows.items():
        texts = [_cell_text(given.cell(label, c), metric, shown) if c in cells else "" for c in given.columns]
        rows.append((label, *texts, code(dict.fromkeys(given.cell(label, column).spec for column in cells))))
    return table(("row", *given.columns, "specification"), rows)


def short_run(page: Path, words: Sequence[str]) -> str:
    """The variants of ``docs/results/NAME/result.json`` that are of a page's methods, with their headline."""
    (name,) = words
    folder = RESULTS / name
    raw = parse((folder / f"{name}.yaml").read_text(encoding="utf-8"), name)
    found = json.loads((folder / "result.json").read_text(encoding="utf-8"))["variants"]
    headline = PROTOCOLS[Outline(name=name, raw=raw).kinds("protocol")[0]].headline
    kinds = zip(raw["variants"], Outline(name=name, raw=raw).kinds("learner"), strict=True)
    here = [label for label, kind in kinds if kind in on_page(page)]
    rows = ((f"`{label}`", _text([headline], found[label]), str(found[label][headline]["n"])) for label in here)
    return table(("variant", _labels([headline]), "n"), rows)


@cache
def specifications() -> tuple[Outline, ...]:
    """All of tune_configs, by name."""
    return tuple(outlines())


def headlines(outline: Outline) -> tuple[str, ...]:
    """The metrics ``outline`` is judged by; those of its parts where these alone are printed."""
    headline = PROTOCOLS[outline.kinds("protocol")[0]].headline
    printed = answer(outline).metrics
    parts = () if headline in printed else tuple(name for name in printed if name.startswith(f"{headline}/"))
    return parts or (headline, *_BESIDE.get(headline, ()))


def answer(outline: Outline) -> Printed:
    """What ``outline`` answers to: its own number, or that of a table's cell in which it stands as it is."""
    given = outline.raw.get("published") or {}
    if given.get("metrics"):
        return Printed(given["metrics"], given.get("n"), given["source"], given.get("searched", ()))
    for one in _tables():
        for row, cells in one.rows.items():
            for cell in (one.cell(row, column) for column in cells if not one.evaluation(row, column)):
                if (cell.spec, cell.overrides, cell.variant) == (outline.name, (), None) and cell.published:
                    return Printed(cell.published, cell.n, one.source)
    return Printed({}, None, "")


def _belongs(outline: Outline, page: Path) -> bool:
    return GENERATIVE not in outline.kinds("protocol") and bool(set(outline.kinds("learner")) & set(on_page(page)))


def _rows(outline: Outline, shown: Sequence[str], page: Path) -> Iterator[Sequence[str]]:
    """The specification as it is; then its runs with other settings."""
    given, stem = answer(outline), outline.name.rpartition("/")[2]
    text = _text(shown, {name: {**metric, "n": given.n} for name, metric in given.metrics.items()})
    runs = [ours for ours in _ours() if ours.spec == outline.name]
    plain = " ".join(_linked(ours, shown, page) for ours in runs if ours.path.stem == stem) or "-"
    searched = f" (searched: {code(given.searched)})" if given.searched and plain != "-" else ""
    verb = "tune" if outline.axes else "run"
    yield f"`frisket {verb} {outline.name}`", text, given.source or "-", plain + searched
    for ours in runs:
        if ours.path.stem != stem:
            yield f"other settings: `{ours.path.stem}`", text, given.source or "-", _linked(ours, shown, page)


@cache
def _ours() -> tuple[Ours, ...]:
    found = ((path, json.loads(path.read_text(encoding="utf-8"))) for path in sorted(RESULTS.rglob("cells/*.json")))
    return tuple(Ours(held["spec"], path, held["summary"]) for path, held in found)


@cache
def _tables() -> tuple[Table, ...]:
    return tuple(load_table(name) for name in table_names())


@cache
def _unit(metric: str) -> str:
    return next((one.metrics[metric].unit for one in _tables() if metric in one.metrics), "percent")


def _labels(shown: Sequence[str]) -> str:
    """What the metrics are called, where the tables agree, and in what they are told."""
    labels = ({one.metrics[name].label for one in _tables() if name in one.metrics} for name in shown)
    called = (label.pop() if len(label) == 1 else name for name, label in zip(shown, labels, strict=True))
    return f"{' / '.join(called)}, {_unit(shown[0])}"


def _linked(ours: Ours, shown: Sequence[str], page: Path) -> str:
    (count,) = {ours.summary[name]["n"] for name in shown}
    return f"[{_text(shown, ours.summary)}]({os.path.relpath(ours.path, page.parent)}), n = {count}"


def _cell_text(cell: Cell, metric: str, shown: Metric) -> str:
    outline = next((one for one in specifications() if one.name == cell.spec), None)
    given = cell.published.get(metric)
    if given is None and outline is not None:
        given = (outline.raw.get("published") or {}).get("metrics", {}).get(metric)
    return "-" if given is None else number_text(Number(**given, n=None), shown.unit)


def _text(shown: Iterable[str], given: Mapping[str, Mapping[str, Any]]) -> str:
    """``77.42 ± 0.65 / -8.64 ± 0.40``; ``-`` where nothing is given."""
    known = {name: given[name] for name in shown if name in given}
    numbers = {name: Number(mean=one["mean"], std=one.get("std"), n=one.get("n")) for name, one in known.items()}
    texts = [number_text(number, _unit(name)) for name, number in numbers.items()]
    return " / ".join(texts) or "-"
