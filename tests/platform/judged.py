"""Reproductions whose results are made by hand, so that verdicts can be tried without running anything."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from frisket.platform.run.folder import RunFolder
from frisket.platform.specs.experiment import load_spec
from frisket.platform.tables.comparison import Comparison, compare
from frisket.platform.tables.reproduction import Reproduction
from frisket.platform.tables.table import load_table, plan
from frisket.platform.tracking.settings import kept_uri


def compared(
    parent: Path, table: str, means: Mapping[str, Mapping[str, float]], **asked: Any
) -> tuple[Reproduction, list[Comparison]]:
    """A reproduction of cells on which every seed has measured ``means[row]``, half of them 0.01 more and half 0.01
    less (seeds in pairs, the last one the mean), and its comparison; ``kind``: of the data."""
    kind = asked.pop("kind", "real")
    what = load_table(table)
    cells = plan(what, rows=list(means), **asked)
    scale = asked.get("scale", "paper")
    reproduction = Reproduction.create(
        parent,
        what,
        cells,
        scale=scale,
        data="auto",
        register=False,
        reuse=False,
        out=None,
        tracking={"uri": kept_uri(), "experiment": "frisket/judged"},
    )  # fmt: skip
    runs: dict[Any, RunFolder] = {}
    for index, cell in enumerate(cells):
        experiment = load_spec(cell.spec, cell.overrides, seeds=cell.seeds)
        if cell.work not in runs:
            runs[cell.work] = RunFolder.create(
                parent, experiment, data_mode=kind, data={"mnist": {"kind": kind}}, register=False, tracking={}
            )
        run = runs[cell.work]
        for replica in experiment.replicas():
            mine = cell.variant in (None, replica.variant)
            if not mine and run.replica(replica).result is not None:
                continue
            spread = 0.0 if replica.seed == experiment.seeds - 1 else 0.01 * (-1) ** replica.seed
            values = {name: value + spread for name, value in means[cell.row].items()} if mine else {}
            about = {"variant": replica.variant, "seed": replica.seed, "config": {}, "sparsity": {}}
            result = about | {"seconds": values.pop("seconds", 1.0), "metrics": values}
            run.replica(replica).finish(result, journal_bytes=0)
        reproduction.assign(index, run, reused=False)
    return reproduction, compare(reproduction)
