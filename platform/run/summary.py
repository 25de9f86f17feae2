"""A run's results as one JSON object, the contract scripts depend on (DESIGN, section 6)."""

from __future__ import annotations

from typing import Any

from frisket.files import find_sealed, write_sealed
from frisket.platform.run.aggregate import aggregate
from frisket.platform.run.divergence import divergences
from frisket.platform.run.folder import RunFolder
from frisket.platform.run.points import points_of


def write_summary(folder: RunFolder) -> dict[str, Any]:
    """`summarise`, kept in the run's folder, where it says whose it is."""
    summary = summarise(folder)
    write_sealed(folder.path / "summary.json", {"run": folder.run_id, **summary})
    return summary


def summarise(folder: RunFolder) -> dict[str, Any]:
    """The ``--json`` object of a run, over the replicas that are done.

    ``summary`` is the headline variant's; with variants, ``variants`` holds everyone's. ``std`` is the population's. A
    metric whose protocol gives an interval for its mean has its ends, ``low`` and ``high``.
    Of a search, ``points`` holds every point, best first, ``best`` the best one's label (None while no point has
    finished), and ``summary`` is the best one's. ``norm``: the policy of the network's batch norm, where there is one.
    Where replicas have diverged, ``diverged`` says which, and at which step; where the masks of some have collapsed
    (`frisket.platform.run.collapse`), ``collapsed`` says which, with the numbers behind it.
    """
    manifest, search = folder.manifest, folder.experiment.tune
    results = folder.results()
    metrics: dict[str | None, list[dict[str, float]]] = {label: [] for label in folder.experiment.plans}
    for result in results:
        metrics[result["variant"]].append(result["metrics"])
    by_label = {label: aggregate(found) for label, found in metrics.items()}
    protocol = folder.experiment.protocol
    if protocol.row.intervals is not None:
        for label, found in metrics.items():
            for name, ends in protocol.row.intervals(protocol.config, found).items():
                by_label[label][name] |= dict(zip(("low", "high"), ends, strict=True))
    points = [] if search is None else points_of(folder)
    best = points[0] if points and points[0].ranked else None
    lost = divergences(folder)
    upload = find_sealed(folder.path / "upload.json") or {}
    summary: dict[str, Any] = {
        "spec": manifest["spec"],
        "frisket": manifest["frisket"],
        "git": manifest["git"],
        "data": {"mode": manifest["data_mode"], "sets": manifest["data"]},
        "results": [{k: r[k] for k in ("seed", "config", "metrics", "sparsity", "seconds")} for r in results],
        "summary": by_label[folder.experiment.headline_label] if search is None else best.metrics if best else {},
        "mlflow": {
            "tracking_uri": manifest["tracking"]["uri"],
            "experiment": manifest["tracking"]["experiment"],
            "run_id": upload.get("parent"),
            "model": upload.get("model"),
            "version": upload.get("version"),
        },
    }
    if search is not None:
        summary |= {"points": [point.as_dict() for point in points], "best": best and best.label}
    elif folder.experiment.variants:
        summary["variants"] = by_label
    if (norm := folder.experiment.norm) is not None:
        summary["norm"] = norm
    if lost:
        summary["diverged"] = lost
    if flat := {result["replica"]: result["collapsed"] for result in results if "collapsed" in result}:
        summary["collapsed"] = flat
    return summary
