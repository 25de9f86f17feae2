"""Results as flat rows, for spreadsheets and data frames."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from frisket.platform.run.folder import RunFolder
    from frisket.platform.tables.comparison import Comparison

Row = dict[str, Any]


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """``rows`` as CSV with a head; what a row does not have, or is None, is empty."""
    text = io.StringIO()
    head = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(text, head, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def replica_rows(folder: RunFolder) -> list[Row]:
    """One row per replica of a run or a search that has a result: where it stands, its metrics, the sparsity of its
    tensors (``sparsity/NAME``) and its settings (``config.section.field``); ``stopped`` is the step at which a search
    ended it early."""
    rows = []
    for replica in folder.experiment.replicas():
        result = folder.replica(replica).result
        if result is None:
            continue
        tensors = {f"sparsity/{name}": value for name, value in result["sparsity"].items() if name != "overall"}
        rows.append(
            {
                "run": folder.run_id, "spec": folder.manifest["spec"], "data": folder.manifest["data_mode"],
                "variant": replica.variant, "seed": replica.seed, "seconds": result["seconds"],
                "stopped": (result.get("stopped") or {}).get("step"),
                **result["metrics"], **tensors, **dict(flat(result["config"], "config.")),
            }
        )  # fmt: skip
    return rows


def number_rows(lines: Iterable[Comparison]) -> list[Row]:
    """One row per number of a reproduction's cells: published, ours, their difference and the verdict."""
    return [
        {
            "row": line.row, "column": line.column, "metric": line.metric, "unit": line.unit,
            **_number("published", line.published), **_number("ours", line.ours),
            **dataclasses.asdict(line.judgement), "claim": line.claim, "source": line.source,
        }
        for line in lines
    ]  # fmt: skip


def flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of nested mappings by dotted name."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _number(name: str, number: Any) -> Row:
    return {f"{name}_{part}": None if number is None else getattr(number, part) for part in ("mean", "std", "n")}
