"""Tables of the result pages, from the files in their ``cells``."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from docs.tables.markdown import table
from docs.tables.numbers import Printed, answer, headlines, specifications
from frisket.platform.tables.verdict import Number, difference_text, number_text


class Run(NamedTuple):
    """A file of ``cells``. Attributes: path; held: what it says; given: what its specification answers to; shown: the
    metrics that are shown."""

    path: Path
    held: Mapping[str, Any]
    given: Printed
    shown: Sequence[str]

    @property
    def link(self) -> str:
        """The file, from its page."""
        mark = ", searched settings" if self.given.searched and self.as_specified else ""
        return f"[`{self.path.stem}`](cells/{self.path.name}){mark}"

    @property
    def as_specified(self) -> bool:
        """Whether it ran the specification as it is."""
        return self.held["spec"].endswith(f"/{self.path.stem}")


def cells_table(page: Path, words: Sequence[str]) -> str:
    """Every run beside what is published, with the seconds of its quickest and its slowest seed."""
    runs = list(_runs(page))
    head = [heading for name in runs[0].shown for heading in (name.upper(), f"published {name.upper()}", "difference")]
    return table(("run", *head, "n", "seconds a seed"), map(_row, runs))


def sparsity_table(page: Path, words: Sequence[str]) -> str:
    """Sparsity in percent, over all and by tensor, of the runs for which it is published."""
    rows: list[Sequence[str]] = []
    tensors: list[str] = []
    for run in _runs(page):
        printed = {name: metric["mean"] for name, metric in run.given.metrics.items() if name.startswith("sparsity")}
        if printed and run.as_specified:
            by_seed = [result["sparsity"] for result in run.held["results"]]
            tensors = tensors or list(by_seed[0])
            rows.append((run.link, *(_share(statistics.mean(seed[name] for seed in by_seed)) for name in tensors)))
            keys = ("sparsity" if name == "overall" else f"sparsity/{name}" for name in tensors)
            rows.append(("published", *(_share(printed[key]) if key in printed else "-" for key in keys)))
    return table(("run", *tensors), rows)


def _runs(page: Path) -> Iterator[Run]:
    named = {outline.name: outline for outline in specifications()}
    for path in sorted((page.parent / "cells").glob("*.json")):
        held = json.loads(path.read_text(encoding="utf-8"))
        outline = named[held["spec"]]
        yield Run(path, held, answer(outline), headlines(outline))


def _row(run: Run) -> Sequence[str]:
    cells = []
    for name in run.shown:
        ours, given = Number(**run.held["summary"][name]), run.given.metrics.get(name)
        printed = None if given is None else Number(mean=given["mean"], std=given.get("std"), n=run.given.n)
        difference = "-" if printed is None else difference_text(ours.mean - printed.mean, "percent")
        cells += [number_text(ours, "percent"), number_text(printed, "percent"), difference]
    spread = sorted({round(result["seconds"]) for result in run.held["results"]})
    took = str(spread[0]) if len(spread) == 1 else f"{spread[0]} to {spread[-1]}"
    return run.link, *cells, str(len(run.held["results"])), took


def _share(value: float) -> str:
    return number_text(Number(mean=value), "percent")
