"""What an MLflow store holds of a run, against what its journals hold."""

from __future__ import annotations

from collections import Counter

from mlflow import MlflowClient

from frisket.platform.run.folder import RunFolder
from frisket.platform.run.journal import read_journal


def journal_points(folder: RunFolder, key: str) -> Counter[tuple[str, int, int, float]]:
    """(name, step, time, value) of every point in a replica's journal."""
    return Counter(
        (name, line["t"], line["time"], value)
        for line, _ in read_journal(folder.replica(key).journal)
        for name, value in line.get("points", {}).items()
    )


def assert_all_there_once(folder: RunFolder, uri: str | None = None) -> None:
    """The store holds one parent, one child per replica with every point once, one model and one version of it."""
    tracking = folder.manifest["tracking"]
    client = MlflowClient(uri or tracking["uri"], registry_uri=uri or tracking["uri"])
    experiment = client.get_experiment_by_name(tracking["experiment"])
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    names = Counter(run.data.tags.get("frisket.replica", "parent") for run in runs)
    assert names == Counter(["parent", *(r.key for r in folder.experiment.replicas())])
    assert {run.info.status for run in runs} == {"FINISHED"}
    by_key = {run.data.tags.get("frisket.replica", "parent"): run for run in runs}
    for replica in folder.experiment.replicas():
        run = by_key[replica.key]
        assert run.data.tags["mlflow.parentRunId"] == by_key["parent"].info.run_id
        stored = Counter(
            (m.key, m.step, m.timestamp, m.value)
            for name in run.data.metrics
            for m in client.get_metric_history(run.info.run_id, name)
        )
        expected = journal_points(folder, replica.key)
        assert {point: n for point, n in stored.items() if point in expected} == expected
        assert set(stored.values()) == {1}
        result = folder.replica(replica).result
        assert result is not None
        assert {name for name, *_ in stored} == {name for name, *_ in expected} | set(result["metrics"])
    found = client.search_model_versions(f"name = '{folder.manifest['spec'].replace('/', '-')}'")
    assert len(found) == 1
    assert len(client.search_logged_models([experiment.experiment_id])) == 1
