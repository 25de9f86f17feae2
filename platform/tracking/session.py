"""One connection to MLflow for one run folder. Everything here may raise whatever the client raises.

MLflow has no transactions, and an acknowledgement can be lost. So every step either is idempotent in the store (a
metric is keyed by name, step, time and value; parameters, tags and files are overwritten by the same) or first looks
for what it is about to create, by its tag ``frisket.run_id``, and deletes what an HTTP layer's own retry has created
twice. Running all of it again from any point gives exactly one of everything.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException

from frisket.platform.reports.card import note
from frisket.platform.reports.figures import draw_figures
from frisket.platform.reports.rows import flat
from frisket.platform.run.aggregate import spread_of
from frisket.platform.run.collapse import Collapsed
from frisket.platform.run.divergence import Lost
from frisket.platform.run.folder import RunFolder
from frisket.platform.run.points import PointFolder, points_of, product
from frisket.platform.run.replicas import ReplicaFolder
from frisket.platform.run.summary import summarise
from frisket.platform.specs.experiment import Experiment, Replica
from frisket.platform.tracking.points import BATCH, chunks, last_points, metrics
from frisket.platform.tracking.record import Child, Record
from frisket.platform.tracking.registry import register
from frisket.platform.tracking.settings import artifact_location
from frisket.platform.tracking.store import connect

RUN_ID, REPLICA, POINT = "frisket.run_id", "frisket.replica", "frisket.point"
_PARAMS = 100  # MLflow's limit per request
_PARAM_CHARS = 6000


class Session:
    """Sends what ``folder`` holds; ``record`` says what is there already.

    Args:
        folder: the run.
        record: its cursor, brought up to date and saved as sending goes on.
        live: someone is working on the run, so it counts as running until it is done.
    """

    def __init__(self, folder: RunFolder, record: Record, live: bool) -> None:
        self.folder, self.record, self.live = folder, record, live
        tracking = folder.manifest["tracking"]
        self.client = connect(tracking["uri"])
        self.searches = folder.experiment.tune is not None
        self.nests = self.searches and folder.experiment.seeds > 1
        self.experiment_id = experiment_id(self.client, tracking["experiment"], tracking["uri"])
        record.open = True
        record.save()
        self.runs = self._runs()
        parent = self._run(None, folder.experiment, folder.run_id)
        if parent != record.parent:
            # Another store than the one the record speaks of (the old one was lost): everything is to be sent again.
            record.parent, record.children, record.model, record.version, record.done = parent, {}, None, None, False
            record.save()

    def send_points(self) -> int:
        """Send every committed point that was not sent; returns how many. Finished replicas are closed."""
        sent = 0
        for replica, files in zip(self.folder.experiment.replicas(), self.folder.replicas(), strict=True):
            child = self.record.children.get(files.key)
            ended = files.result is not None  # asked before how much there is to send: it may end while we send
            committed = files.committed_bytes()
            if (child and child.done) or not committed:
                continue
            child = child or self._child(replica)
            for chunk in chunks(files.journal, child.sent, committed):
                if chunk.metrics:
                    self.client.log_batch(child.run_id, metrics=chunk.metrics)
                child.sent = chunk.cursor
                self.record.save()
                sent += len(chunk.metrics)
            if ended:
                self._close_child(files, child)
        if self.nests:
            self._close_points()
        return sent

    def finish(self) -> None:
        """Send what only a finished run has: summary, figures, model version; close the parent."""
        assert self.record.parent is not None
        parent = self.record.parent
        self.runs = self._runs()
        figures = draw_figures(self.folder)
        self._metrics(parent, self._summary_metrics())
        made = product(self.folder)
        if isinstance(made, PointFolder):
            self.client.set_tag(parent, "frisket.best_point", made.point.label)
        if figures:
            self.client.log_artifacts(parent, str(figures[0].parent), "figures")
        self.client.log_artifact(parent, str(self.folder.path / "run.json"))
        self.client.log_text(parent, json.dumps(self.folder.experiment.as_dict(), indent=1), "spec.json")
        if self.folder.manifest["register"] and made.experiment.tune is None:
            self.record.model, self.record.version = register(self.client, made, self.experiment_id, parent)
            self.record.save()
        self.client.set_tag(parent, "mlflow.note.content", note(made, self.experiment_id, parent))
        self.client.log_text(parent, json.dumps(summarise(self.folder), indent=1), "summary.json")
        self.client.set_terminated(parent, "FINISHED")
        self.record.done, self.record.open = True, False
        self.record.save()

    def close(self, status: str) -> None:
        """Give up for now: what is open in MLflow becomes ``status`` (``FAILED`` or ``KILLED``); a resumed run opens it
        again."""
        for child in self.record.children.values():
            if not child.done and self._status(child.run_id) == "RUNNING":
                self.client.set_terminated(child.run_id, status)
        assert self.record.parent is not None
        if self._status(self.record.parent) == "RUNNING":
            self.client.set_terminated(self.record.parent, status)
        self.record.open = False
        self.record.save()

    # -- runs ----------------------------------------------------------------------------------------------------------

    def _runs(self) -> dict[str | None, Run]:
        """The runs made for this folder, by key of replica or point; None is the parent. Of doubles, one is kept."""
        found = self.client.search_runs(
            [self.experiment_id], f"tags.`{RUN_ID}` = '{self.folder.run_id}'", max_results=10_000
        )
        known = {self.record.parent, *(child.run_id for child in self.record.children.values())}
        runs: dict[str | None, Run] = {}
        for run in sorted(found, key=lambda r: (r.info.run_id not in known, r.info.start_time, r.info.run_id)):
            key = _key(run.data.tags)
            if key in runs:
                self.client.delete_run(run.info.run_id)
            else:
                runs[key] = run
        return runs

    def _run(self, key: str | None, experiment: Experiment, name: str, tags: Mapping[str, str] | None = None) -> str:
        """The run of ``key``, found or made, with its parameters."""
        run = self.runs.get(key)
        if run is None:
            tags = self._tags(experiment) | dict(tags or {})
            run = self.client.create_run(self.experiment_id, run_name=name, tags=tags)
            self.runs[key] = run
        elif self.live and run.info.status != "RUNNING" and not self.record.done:
            self.client.update_run(run.info.run_id, status="RUNNING")
        run_id = run.info.run_id
        params = [Param(k, v) for k, v in flatten(experiment.as_dict()).items() if len(v) <= _PARAM_CHARS]
        for i in range(0, len(params), _PARAMS):
            self.client.log_batch(run_id, params=params[i : i + _PARAMS])
        return run_id

    def _child(self, replica: Replica) -> Child:
        parent = self._point(replica.variant) if self.nests and replica.variant else self.record.parent
        assert parent is not None
        tags = {REPLICA: replica.key, "frisket.seed": str(replica.seed), "mlflow.parentRunId": parent}
        if replica.variant is not None:
            tags["frisket.variant"] = replica.variant
            if self.searches and not self.nests:
                tags[POINT] = replica.variant
        run_id = self._run(replica.key, self.folder.experiment.variant(replica.variant), replica.key, tags)
        self.client.log_batch(run_id, params=[Param("seed", str(replica.seed))])
        child = self.record.children[replica.key] = Child(run_id)
        self.record.save()
        return child

    def _point(self, label: str) -> str:
        """The run of a point with several seeds, which its replicas' runs lie under."""
        child = self.record.children.get(_point_key(label))
        if child is None:
            assert self.record.parent is not None
            tags = {POINT: label, "mlflow.parentRunId": self.record.parent}
            run_id = self._run(_point_key(label), self.folder.experiment.variant(label), label, tags)
            child = self.record.children[_point_key(label)] = Child(run_id)
            self.record.save()
        return child.run_id

    def _close_points(self) -> None:
        """Points all of whose replicas are sent get their means and spreads, and are closed."""
        seeds = range(self.folder.experiment.seeds)
        for point in points_of(self.folder):
            child = self.record.children.get(_point_key(point.label))
            keys = [Replica(variant=point.label, seed=seed).key for seed in seeds]
            sent = all(key in self.record.children and self.record.children[key].done for key in keys)
            if child is None or child.done or not sent:
                continue
            time, step = max(last_points(self.folder.replica(key).journal) for key in keys)
            self._metrics(child.run_id, metrics(_means(point.metrics), time, step))
            self.client.set_terminated(child.run_id, "FINISHED")
            child.done = True
            self.record.save()

    def _close_child(self, files: ReplicaFolder, child: Child) -> None:
        """The result's metrics, stamped like the last points: those that were sent already are not stored twice. What a
        search stopped early has no result of its own, and does not count as finished."""
        result = files.result
        assert result is not None
        time, step = last_points(files.journal)
        tags, stopped = [RunTag("frisket.seconds", f"{result['seconds']:.1f}")], result.get("stopped")
        if stopped:
            tags.append(RunTag("frisket.stopped", f"step {stopped['step']} of {stopped['of']}"))
        else:
            self._metrics(child.run_id, metrics(result["metrics"], time, step))
        found = Lost.read(result)
        if found is not None:
            tags.append(RunTag("frisket.diverged", f"step {found.step}"))
        flat = Collapsed.read(result)
        if flat is not None:
            tags.append(RunTag("frisket.mask_collapsed", flat.text()))
        self.client.log_batch(child.run_id, tags=tags)
        self.client.set_terminated(child.run_id, "KILLED" if stopped else "FINISHED")
        child.done = True
        self.record.save()

    def _tags(self, experiment: Experiment) -> dict[str, str]:
        manifest = self.folder.manifest
        tags = {
            RUN_ID: self.folder.run_id,
            "frisket.spec": manifest["spec"],
            "frisket.data": manifest["data_mode"],
            "frisket.version": manifest["frisket"],
            "frisket.folder": self.folder.path.name,
            "frisket.method": experiment.learner.kind,
            "mlflow.source.name": f"frisket {self.folder.verb} {manifest['spec']}",
        }
        if manifest["git"]:
            tags |= {"frisket.git": manifest["git"], "mlflow.source.git.commit": manifest["git"].rstrip("+")}
        if experiment.published is not None:
            tags["frisket.published"] = experiment.published.source
        return tags

    def _status(self, run_id: str) -> str:
        return self.client.get_run(run_id).info.status

    # -- metrics -------------------------------------------------------------------------------------------------------

    def _metrics(self, run_id: str, batch: list[Metric]) -> None:
        for i in range(0, len(batch), BATCH):
            self.client.log_batch(run_id, metrics=batch[i : i + BATCH])

    def _summary_metrics(self) -> list[Metric]:
        """Mean and spread over replicas, the headline's (of a search, the best point's) without prefix, every variant's
        as ``LABEL/METRIC``."""
        summary = summarise(self.folder)
        groups = {"": summary["summary"], **{f"{k}/": v for k, v in summary.get("variants", {}).items()}}
        time, step = max(last_points(files.journal) for files in self.folder.replicas())
        values = {f"{prefix}{name}": v for prefix, group in groups.items() for name, v in _means(group).items()}
        return metrics(values, time, step)


def experiment_id(client: MlflowClient, name: str, uri: str) -> str:
    """The MLflow experiment ``name``, found or made.

    Raises:
        MlflowException: it is deleted there, or the client's own.
    """
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return client.create_experiment(name, artifact_location(uri, name))
        except MlflowException:  # another run of the same experiment was quicker
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    if found.lifecycle_stage == "deleted":
        raise MlflowException(f"experiment {name!r} is deleted there; restore it: mlflow experiments restore")
    return found.experiment_id


def _point_key(label: str) -> str:
    return f"point/{label}"


def _key(tags: Mapping[str, str]) -> str | None:
    """What a run is of, by its tags: a replica, a point, or (None) the whole."""
    if REPLICA in tags:
        return tags[REPLICA]
    return _point_key(tags[POINT]) if POINT in tags else None


def _means(group: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Aggregated metrics as ``{METRIC: mean, METRIC_std: std}``; one seed has no spread."""
    values = {name: (row["mean"], spread_of(row["std"], int(row["n"]))) for name, row in group.items()}
    spreads = {f"{name}_std": std for name, (_, std) in values.items() if std is not None}
    return {name: mean for name, (mean, _) in values.items()} | spreads


def flatten(value: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested mappings as ``{"section.field": text}``; what is empty or None is left out."""
    said = {name: item for name, item in flat(value, prefix) if item is not None and item not in ([], ())}
    return {name: item if isinstance(item, str) else json.dumps(item) for name, item in said.items()}
