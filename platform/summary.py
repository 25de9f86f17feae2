"""A run's results as one JSON object, the contract scripts depend on (DESIGN, section 6)."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from typing import Any

from frisket.platform.runfolder import RunFolder, read_json


def summarise(folder: RunFolder) -> dict[str, Any]:
    """The ``--json`` object of a run, over the replicas that are done.

    ``summary`` is the headline variant's; with variants, ``variants`` holds everyone's. ``std`` is the population's.
    """
    manifest = folder.manifest
    results = folder.results()
    labels = list(folder.experiment.variants) or [None]
    by_label = {label: aggregate(r["metrics"] for r in results if r["variant"] == label) for label in labels}
    upload = read_json(folder.path / "upload.json") or {}
    summary: dict[str, Any] = {
        "spec": manifest["spec"],
        "frisket": manifest["frisket"],
        "git": manifest["git"],
        "data": {"mode": manifest["data_mode"], "sets": manifest["data"]},
        "results": [{k: r[k] for k in ("seed", "config", "metrics", "sparsity", "seconds")} for r in results],
        "summary": by_label[labels[0]],
        "mlflow": {
            "tracking_uri": manifest["tracking"]["uri"],
            "experiment": manifest["tracking"]["experiment"],
            "run_id": upload.get("parent"),
            "model": upload.get("model"),
            "version": upload.get("version"),
        },
    }
    if folder.experiment.variants:
        summary["variants"] = by_label
    return summary


def aggregate(metrics: Iterable[dict[str, float]]) -> dict[str, dict[str, float]]:
    """``{metric: {"mean", "std", "n"}}`` over the replicas that have the metric."""
    values: dict[str, list[float]] = {}
    for row in metrics:
        for name, value in row.items():
            values.setdefault(name, []).append(value)
    return {k: {"mean": statistics.fmean(v), "std": statistics.pstdev(v), "n": len(v)} for k, v in values.items()}
