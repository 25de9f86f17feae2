"""Sends a finished reproduction to MLflow: one run per reproduction, with the table, its picture and every number.

The cells' own runs are sent by their own uploaders. As there, each step is idempotent or looks first for what it is
about to create, so that sending again, from any point, leaves exactly one run.
"""

from __future__ import annotations

import logging
import sys
import time
from typing import TYPE_CHECKING, Any

from frisket.errors import UserError
from frisket.files import find_sealed, write_sealed
from frisket.platform.reports.reproduction import report_path, write_report
from frisket.platform.tables.comparison import compare, counts
from frisket.platform.tables.reproduction import Reproduction
from frisket.platform.tracking.failure import said_of
from frisket.platform.tracking.points import metric_name
from frisket.platform.tracking.store import connect
from frisket.platform.tracking.uploader import UploadStatus, not_sent

if TYPE_CHECKING:
    from mlflow import MlflowClient

_log = logging.getLogger("frisket.tracking")
TAG = "frisket.reproduction"


def send_or_warn(reproduction: Reproduction) -> None:
    """Send; one warning on standard error where MLflow does not take it."""
    status = send(reproduction)
    if not status.reachable:
        away = not_sent(reproduction.manifest["tracking"]["uri"], status)
        print(
            f"warning: {away}; the table is in {reproduction.out}; send it later with `frisket sync`",
            file=sys.stderr,
        )


def send(reproduction: Reproduction) -> UploadStatus:
    """Send the table of a finished reproduction, once. Never raises for MLflow's sake."""
    if sent(reproduction):
        return UploadStatus(reachable=True, complete=True)
    try:
        run_id = _send(reproduction)
    except Exception as error:  # a client has many ways to fail, and none of them may end the command
        return UploadStatus(reachable=False, reason=said_of(error))
    write_sealed(reproduction.path / "sent.json", {"run_id": run_id})
    write_report(reproduction, compare(reproduction))  # now with the MLflow run in it
    return UploadStatus(reachable=True, complete=True)


def sent(reproduction: Reproduction) -> bool:
    """Whether its table is in MLflow."""
    return find_sealed(reproduction.path / "sent.json") is not None


def due(reproduction: Reproduction) -> bool:
    """Whether it is finished, and its table not in MLflow. One whose runs cannot be read is passed over, and that is
    logged."""
    try:
        return reproduction.done and not sent(reproduction)
    except UserError as error:
        _log.warning("%s: skipped: %s", reproduction.run_id, error)
        return False


def _send(reproduction: Reproduction) -> str:
    from mlflow.entities import Metric, Param, RunTag

    from frisket.platform.tracking.session import experiment_id

    manifest = reproduction.manifest
    uri = manifest["tracking"]["uri"]
    client = connect(uri)
    run_id = _run(client, experiment_id(client, manifest["tracking"]["experiment"], uri), reproduction)
    lines = compare(reproduction)
    now = int(time.time() * 1000)
    values: dict[str, float] = {f"verdicts/{name}": float(n) for name, n in counts(lines).items()}
    for line in lines:
        key = f"{line.row}/{line.column}/{line.metric}"
        if line.ours is not None:
            values[key] = line.ours.mean
        if line.published is not None:
            values[f"{key}/published"] = line.published.mean
        if line.judgement.difference is not None:
            values[f"{key}/{line.claim or 'difference'}"] = line.judgement.difference
    stored = client.get_run(run_id).data.metrics
    metrics = [Metric(metric_name(k), v, now, 0) for k, v in values.items() if metric_name(k) not in stored]
    params = {k: manifest[k] for k in ("table", "scale", "data")} | {"cells": len(reproduction.cells)}
    client.log_batch(
        run_id,
        params=[Param(k, str(v)) for k, v in params.items()],
        tags=[
            RunTag("frisket.runs", ", ".join(str(row["run"]) for row in manifest["cells"])),
            RunTag("mlflow.note.content", report_path(reproduction, "md").read_text(encoding="utf-8")),
        ],
    )
    for start in range(0, len(metrics), 1000):
        client.log_batch(run_id, metrics=metrics[start : start + 1000])
    for ending in ("md", "json", "png"):
        client.log_artifact(run_id, str(report_path(reproduction, ending)))
    client.set_terminated(run_id, "FINISHED")
    return run_id


def _run(client: MlflowClient, experiment: str, reproduction: Reproduction) -> str:
    """The reproduction's run, found or made; of doubles made by a lost answer, one is kept."""
    found: list[Any] = client.search_runs([experiment], f"tags.`{TAG}` = '{reproduction.run_id}'")
    for double in found[1:]:
        client.delete_run(double.info.run_id)
    if found:
        return found[0].info.run_id
    manifest = reproduction.manifest
    tags = {
        TAG: reproduction.run_id,
        "frisket.version": manifest["frisket"],
        "mlflow.source.name": f"frisket reproduce {manifest['table']}",
    }
    if manifest["git"]:
        tags |= {"frisket.git": manifest["git"], "mlflow.source.git.commit": manifest["git"].rstrip("+")}
    return client.create_run(experiment, run_name=reproduction.run_id, tags=tags).info.run_id
