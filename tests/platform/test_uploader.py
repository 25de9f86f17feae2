"""Sending runs to MLflow, against real stores: exactly one of everything, whatever breaks in between."""

from __future__ import annotations

import http.client
import json
import math
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from runs import MakeRun, new_run
from servers import Server
from stored import assert_all_there_once, journal_points

from frisket.errors import RunError, Stopped
from frisket.files import find_sealed, read_sealed, write_sealed
from frisket.platform.cli.sync import sync
from frisket.platform.run.engine import run_replica
from frisket.platform.run.folder import RunFolder
from frisket.platform.run.journal import Journal, read_journal
from frisket.platform.tracking.background import BackgroundUploader
from frisket.platform.tracking.points import chunks, metrics
from frisket.platform.tracking.session import flatten
from frisket.platform.tracking.settings import kept_uri
from frisket.platform.tracking.uploader import Uploader, unsent


def test_sqlite_store_gets_everything_once_however_often_it_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, finished_run: MakeRun
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    tracking = {"uri": kept_uri(), "experiment": "frisket/tiny/once"}
    assert tracking == {"uri": f"sqlite:///{tmp_path}/mlflow.db", "experiment": "frisket/tiny/once"}
    folder = finished_run(tracking["uri"], "tiny/once")
    assert unsent(folder)
    status = Uploader(folder).push()
    assert status.reachable, status.reason
    assert (status.complete, status.model, status.version) == (True, "tiny-once", "1")
    assert status.points == sum(sum(journal_points(folder, r.key).values()) for r in folder.experiment.replicas())
    assert_all_there_once(folder)
    assert not unsent(folder)
    assert Uploader(folder).push().points == 0

    (folder.path / "upload.json").unlink()  # as if no acknowledgement had ever arrived
    again = Uploader(folder).push()
    assert again.complete
    assert again.version == "1"
    assert_all_there_once(folder)
    assert {p.name for p in tmp_path.iterdir()} == {"mlflow.db", "mlartifacts", "runs"}


def test_replica_that_ends_while_it_is_sent_loses_no_point(
    tmp_path: Path, finished_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A result appears, with the rest of its journal, after it was seen how much there is to send."""
    folder = finished_run(f"sqlite:///{tmp_path}/m.db", "tiny/late")
    files = folder.replicas()[0]
    result = files.path / "result.json"
    text = result.read_text()
    result.unlink()
    offsets = [offset for _, offset in read_journal(files.journal)]
    committed = {"journal_bytes": offsets[len(offsets) // 2], "cursor": 15, "seconds": 1.0}
    write_sealed(files.path / "committed.json", committed)
    send = MlflowClient.log_batch

    def send_and_end(client: MlflowClient, run_id: str, *arguments: Any, **named: Any) -> Any:
        if named.get("metrics"):  # the first are this replica's
            result.write_text(text)
        return send(client, run_id, *arguments, **named)

    monkeypatch.setattr(MlflowClient, "log_batch", send_and_end)
    uploader = Uploader(folder, live=True)
    assert not uploader.push().complete
    assert uploader.push().complete
    assert_all_there_once(folder)


def test_parent_carries_summary_spec_and_figures(tmp_path: Path, finished_run: MakeRun) -> None:
    folder = finished_run(f"sqlite:///{tmp_path}/m.db", register=False)
    status = Uploader(folder).push()
    assert status.complete
    assert status.version is None
    client = MlflowClient(f"sqlite:///{tmp_path}/m.db")
    parent = client.get_run(read_sealed(folder.path / "upload.json")["parent"])
    assert parent.info.run_name == folder.run_id
    values = [r["metrics"]["accuracy"] for r in folder.results() if r["variant"] == "sparse"]
    mean = sum(values) / 2
    assert parent.data.metrics["accuracy"] == pytest.approx(mean)
    assert parent.data.metrics["accuracy_std"] == pytest.approx(abs(values[0] - mean))
    assert parent.data.metrics["sparse/accuracy"] == parent.data.metrics["accuracy"]
    assert "fixed/accuracy" in parent.data.metrics
    assert parent.data.params["stream.p"] == "0.8"
    assert parent.data.tags["frisket.data"] == "embedded"
    files = {f.path for f in client.list_artifacts(parent.info.run_id)}
    assert files == {"figures", "run.json", "spec.json", "summary.json"}
    figures = {f.path for f in client.list_artifacts(parent.info.run_id, "figures")}
    assert {"figures/accuracy.png", "figures/masks-sparse.png"} <= figures


def test_only_committed_points_are_sent_and_a_stopped_run_is_marked_and_reopened(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/m.db"
    folder = new_run(tmp_path / "runs", uri, seeds=1, variants={}, checkpoint_seconds=1000.0)
    (replica,) = folder.experiment.replicas()
    calls = iter(range(1000))
    with BackgroundUploader(folder, pause=60) as uploader, pytest.raises(Stopped):
        run_replica(folder, replica, stop=lambda: next(calls) == 13)
    assert uploader.status.reachable
    assert not uploader.status.complete
    client = MlflowClient(uri)
    (experiment,) = [e for e in client.search_experiments() if e.name == "frisket/tiny/pair"]
    runs = client.search_runs([experiment.experiment_id])
    assert {r.info.status for r in runs} == {"KILLED"}
    assert not unsent(folder)

    with folder.replica(replica).journal.open("ab") as file:  # written after the checkpoint: not final
        file.write(b'{"t":14,"time":1,"points":{"accuracy":9.0}}\n')
    assert Uploader(folder).push().points == 0

    with BackgroundUploader(folder, pause=0.01) as uploader:
        run_replica(folder, replica)
    assert uploader.status.complete
    assert_all_there_once(folder)


def test_a_run_nobody_works_on_does_not_stay_running(tmp_path: Path) -> None:
    """A driver killed with -9 leaves its runs RUNNING; `frisket sync` marks them."""
    uri = f"sqlite:///{tmp_path}/m.db"
    folder = new_run(tmp_path / "runs", uri, seeds=1, variants={})
    (replica,) = folder.experiment.replicas()
    calls = iter(range(1000))
    with pytest.raises(Stopped):
        run_replica(folder, replica, stop=lambda: next(calls) == 8)
    Uploader(folder, live=True).push()
    client = MlflowClient(uri)
    run_id = read_sealed(folder.path / "upload.json")["parent"]
    assert client.get_run(run_id).info.status == "RUNNING"
    with folder.replica(replica).lock():  # as long as a worker lives, it is left alone
        Uploader(folder).push()
        assert client.get_run(run_id).info.status == "RUNNING"
    assert unsent(folder)
    sync(runs_dir=tmp_path / "runs")
    assert client.get_run(run_id).info.status == "KILLED"


def test_two_processes_cannot_send_one_run(tmp_path: Path) -> None:
    folder = new_run(tmp_path, f"sqlite:///{tmp_path}/m.db", seeds=1, variants={})
    with Uploader(folder).lock(), pytest.raises(RunError, match="another process"), Uploader(folder).lock():
        pass


def test_values_a_store_cannot_hold(tmp_path: Path) -> None:
    row = metrics({"a": math.inf, "b": -math.inf, "c": math.nan, "d": 0.5}, 7, 3)
    assert [(m.key, m.value) for m in row[:2]] == [("a/infinite", 1.0), ("b/infinite", -1.0)]
    assert math.isnan(row[2].value)
    assert {(m.timestamp, m.step) for m in row} == {(7, 3)}


def test_chunks_keep_to_the_limit_and_never_lose_the_tail_of_a_line(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path, keep=0) as journal:
        for t in range(3):
            journal.step(t, {"accuracy": 0.5})
            journal.points(t, {f"k{i}": float(i) for i in range(4)})
    size = path.stat().st_size
    parts = list(chunks(path, 0, size, size=5))
    assert [len(p.metrics) for p in parts] == [5, 5, 2]
    assert parts[-1].cursor == size
    for part, after in zip(parts, [parts[1:], parts[2:], []], strict=True):
        # A crash right after `part`: sending goes on from its cursor and must still cover what comes after.
        resent = {(m.key, m.step) for c in chunks(path, part.cursor, size, size=5) for m in c.metrics}
        assert {(m.key, m.step) for c in after for m in c.metrics} <= resent


def test_flatten_leaves_nothing_but_text() -> None:
    assert flatten({"a": {"b": 1, "c": None}, "d": [1, 2], "e": "x", "f": {}, "g": True}) == {
        "a.b": "1", "d": "[1, 2]", "e": "x", "g": "true"
    }  # fmt: skip


def test_mlflow_away_costs_one_warning_and_no_time(tmp_path: Path, finished_run: MakeRun) -> None:
    folder = finished_run("http://127.0.0.1:9")  # the discard port: nothing listens
    said: list[str] = []
    with BackgroundUploader(folder, warn=said.append, pause=0.01):
        time.sleep(0.5)
    assert len(said) == 1
    assert said[0].startswith("MLflow at http://127.0.0.1:9 is not reachable (Connection refused); ")
    assert "`frisket sync`" in said[0]
    assert str(folder.path) in said[0]


@pytest.mark.process
def test_damage_on_disk_is_not_blamed_on_mlflow(
    tmp_path: Path, finished_run: MakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    """One run's is told of and hinders no other; while a run is live it costs one warning."""
    uri = f"sqlite:///{tmp_path}/m.db"
    cut, changed, whole = (finished_run(uri, f"tiny/{name}", register=False) for name in ("cut", "changed", "whole"))
    journal = cut.replicas()[0].journal
    journal.write_bytes(journal.read_bytes()[:-10])
    journal = changed.replicas()[0].journal
    journal.write_bytes(journal.read_bytes().replace(b'"t":4', b'"t":3'))
    (cut.path.parent / "torn").mkdir()
    (cut.path.parent / "torn" / "run.json").write_text("{")
    sync(runs_dir=cut.path.parent)
    said = {line.partition(":")[0]: line for line in capsys.readouterr().out.splitlines()}
    assert "skipped: journal" in said[cut.run_id]
    assert "is cut short" in said[cut.run_id]
    assert "a line is not as it was written" in said[changed.run_id]
    assert "all of it is in MLflow" in said[whole.run_id]
    assert "reachable" not in " ".join(said.values())
    with pytest.raises(RunError, match="is cut short"):
        Uploader(cut).push()
    warnings: list[str] = []
    with BackgroundUploader(cut, warn=warnings.append) as uploader:
        pass
    (warning,) = warnings
    assert uploader.status.damaged
    assert warning.startswith(f"nothing more is sent of {cut.path}: journal = ")
    assert "MLflow" not in warning


def test_mlflow_not_installed_never_raises(finished_run: MakeRun) -> None:
    folder = finished_run("http://127.0.0.1:9")
    code = (
        "import sys; sys.modules['mlflow'] = None\n"
        "from pathlib import Path\n"
        "from frisket.platform.run.folder import RunFolder\n"
        "from frisket.platform.tracking.background import BackgroundUploader\n"
        "with BackgroundUploader(RunFolder.open(Path(sys.argv[1]))): pass\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder.path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("cannot be asked from here") == 1
    assert "mlflow" in done.stderr


@pytest.mark.process
def test_server_killed_in_mid_run_and_synchronised_later(own_server: Server, tmp_path: Path) -> None:
    folder = new_run(tmp_path / "runs", own_server.uri, variants={})
    first, second = folder.experiment.replicas()
    said: list[str] = []
    with BackgroundUploader(folder, warn=said.append, pause=0.05) as uploader:
        run_replica(folder, first)
        until = time.monotonic() + 30
        while not read_sent(folder, first.key) and time.monotonic() < until:
            time.sleep(0.05)
        own_server.kill()
        run_replica(folder, second)
    assert read_sent(folder, first.key)
    assert len(said) == 1
    assert not uploader.status.reachable
    with pytest.raises(Exception, match="1") as left:
        sync(runs_dir=tmp_path / "runs")  # still away
    assert getattr(left.value, "exit_code", None) == 1
    own_server.start()
    sync(runs_dir=tmp_path / "runs")
    assert_all_there_once(folder)
    assert read_sealed(folder.path / "summary.json")["mlflow"]["version"] == "1"


def read_sent(folder: RunFolder, key: str) -> int:
    """Acknowledged journal bytes of a replica."""
    record = find_sealed(folder.path / "upload.json") or {}
    return record.get("children", {}).get(key, {}).get("sent", 0)


class Forgetful(BaseHTTPRequestHandler):
    """Forwards every request, and swallows the answer to the first of each kind: the acknowledgement gets lost."""

    upstream: int
    lost: set[str]

    def _forward(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        connection = http.client.HTTPConnection("127.0.0.1", self.upstream, timeout=30)
        connection.request(self.command, self.path, body, dict(self.headers))
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        kind = f"{self.command} {'/'.join(self.path.partition('?')[0].split('/')[3:6])}"
        if kind not in self.lost:
            self.lost.add(kind)
            self.close_connection = True
            return
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.headers.get("Content-Type", "application/json"))
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _forward

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def forgetful(mlflow_server: Server) -> Iterator[tuple[str, set[str]]]:
    """``(address, kinds of requests whose answer was lost)`` of a proxy before the shared server."""
    lost: set[str] = set()
    handler = type("Handler", (Forgetful,), {"upstream": mlflow_server.port, "lost": lost})
    proxy = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=proxy.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{proxy.server_address[1]}", lost
    proxy.shutdown()
    thread.join()
    proxy.server_close()


@pytest.mark.process
@pytest.mark.parametrize("retries", ["0", "2"])
def test_every_kind_of_acknowledgement_lost_once(
    mlflow_server: Server, forgetful: tuple[str, set[str]], finished_run: MakeRun, retries: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """With 0 retries we see each loss; with 2 MLflow's client resends by itself and creates doubles; we remove them."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", retries)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    address, lost = forgetful
    folder = finished_run(address, f"tiny/lost{retries}")
    losses = 0
    while not (status := Uploader(folder).push()).complete:
        losses += 1
        assert losses < 60, status.reason
    for kind in ("experiments/create", "runs/create", "runs/log-batch", "logged-models", "model-versions/create"):
        assert f"POST mlflow/{kind}" in lost
    assert losses >= 10 or retries != "0"
    assert_all_there_once(folder, mlflow_server.uri)
    assert json.loads((folder.path / "upload.json").read_text())["version"] == "1"
