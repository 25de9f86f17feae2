"""A password in MLFLOW_TRACKING_URI is used, and is in nothing that is written, sent, printed or listed."""

from __future__ import annotations

import base64
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
from processes import command, descendants, wait_for
from runs import MakeRun
from servers import Server

import frisket
from frisket.errors import ModelError, TrackingError
from frisket.files import read_json
from frisket.platform import doctor
from frisket.platform.cli.main import main
from frisket.platform.run.folder import RunFolder
from frisket.platform.tracking.settings import with_credentials
from frisket.platform.tracking.uploader import Uploader

SECRET = "s3cret"
LOGIN = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")


@pytest.fixture(autouse=True)
def stranger(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is known of any password, not by MLflow's file in the home either."""
    for name in LOGIN:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(workplace))


def with_password(server: Server) -> str:
    return server.uri.replace("//", f"//alice:{SECRET}@")


def holding_secret(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]


@pytest.mark.process
def test_password_of_a_server_is_used_and_left_nowhere(
    own_server: Server,
    tiny_spec: str,
    workplace: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    uri, kept = with_password(own_server), own_server.uri.replace("//", "//***@")
    run = ["run", tiny_spec, "stream.steps=6", "--data", "embedded", "--local", "--json", "out.json"]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert main(run) == 0
    (folder,) = RunFolder.all(workplace / "frisket_runs")
    assert folder.manifest["tracking"]["uri"] == read_json(workplace / "out.json")["mlflow"]["tracking_uri"] == kept
    assert [(row.what, row.status) for row in doctor.mlflow()] == [("mlflow", "ok")]

    monkeypatch.delenv("MLFLOW_TRACKING_URI")  # another shell, where nobody has said it yet
    assert main(["sync"]) == 1
    said = capfd.readouterr().out
    assert "set it to that URI with its password, or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD" in said
    assert main(["run", "--resume", "last", "--local"]) == 0
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert main(["sync", "last"]) == 0
    assert "all of it is in MLflow" in capfd.readouterr().out
    assert main(["run", "--resume", "last", "--local", "--json", "again.json"]) == 0
    assert main(["runs", "--json", "runs.json"]) == 0
    assert main(["ui"]) == 0
    shown = capfd.readouterr()
    assert kept in shown.out
    assert SECRET not in said + shown.out + shown.err
    model = frisket.load_model("models:/tiny/1")  # through the same URI
    assert model.seeds == [0, 1]
    assert (workplace / "mlartifacts").is_dir()  # the server's, with run.json and the model
    assert holding_secret(workplace) == []


@pytest.mark.process
@pytest.mark.parametrize("uri", [f"http://alice:{SECRET}@127.0.0.1:9", f"postgresql://u:{SECRET}@127.0.0.1:9/db"])
def test_password_of_a_store_that_is_away_is_in_no_message(
    uri: str, tiny_spec: str, workplace: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert main(["run", tiny_spec, "stream.steps=6", "--data", "embedded", "--local"]) == 0
    assert main(["sync"]) == 1
    assert main(["masks", "show", "models:/tiny/1"]) == 2
    (row,) = doctor.mlflow()
    assert row.status == "warn"
    shown = capfd.readouterr()
    assert "//***@127.0.0.1:9" in shown.out
    assert SECRET not in shown.out + shown.err + row.found + row.fix
    with pytest.raises(ModelError) as caught:
        frisket.load_model("models:/tiny/1", tracking_uri=uri)
    assert SECRET not in str(caught.value)
    assert holding_secret(workplace) == []


def test_a_fault_of_ours_says_no_password_either(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://alice:{SECRET}@host")

    def fail(*arguments: object, **named: object) -> None:
        raise RuntimeError(f"lost http://alice:{SECRET}@host")

    monkeypatch.setattr("frisket.platform.verbs.runs.runs", fail)
    assert main(["runs"]) == 1
    err = capfd.readouterr().err
    assert "RuntimeError: lost http://***@host" in err
    assert SECRET not in err


@pytest.mark.parametrize(
    ("environment", "used"),
    [
        ({"MLFLOW_TRACKING_URI": "http://a:b@host:1/x"}, "http://a:b@host:1/x"),
        ({"MLFLOW_TRACKING_USERNAME": "a", "MLFLOW_TRACKING_PASSWORD": "b"}, "http://host:1/x"),
        ({"MLFLOW_TRACKING_TOKEN": "b"}, "http://host:1/x"),
        ({}, None),
        ({"MLFLOW_TRACKING_URI": "http://***@host:1/x"}, None),
        ({"MLFLOW_TRACKING_URI": "http://a:b@other:1/x"}, None),
    ],
)
def test_credentials_come_from_the_environment(
    environment: dict[str, str], used: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert with_credentials("http://host:1/x") == "http://host:1/x"  # which needs none
    if used is not None:
        assert with_credentials("http://***@host:1/x") == used
        return
    with pytest.raises(TrackingError, match=r"MLFLOW_TRACKING_URI.*MLFLOW_TRACKING_PASSWORD") as caught:
        with_credentials("http://***@host:1/x")
    assert "a:b" not in str(caught.value)


def test_a_database_wants_the_whole_uri(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "b")  # which no driver of a database looks at
    with pytest.raises(TrackingError, match=r"set it to that URI with its password$"):
        with_credentials("postgresql://***@host/db")


def test_a_run_whose_password_is_not_known_says_what_to_set(finished_run: MakeRun) -> None:
    folder = finished_run("http://***@127.0.0.1:9")
    status = Uploader(folder).push()
    assert not status.reachable
    assert "MLFLOW_TRACKING_URI" in status.reason
    assert "\n" not in status.reason


@pytest.mark.process
def test_no_list_of_processes_shows_the_password_of_the_page(workplace: Path, environment: dict[str, str]) -> None:
    """No such database is there, so the server fails; what it was called with is seen before."""
    uri = f"postgresql://u:{SECRET}@127.0.0.1:9/db"
    page = subprocess.Popen(
        [sys.executable, "-m", "frisket", "ui", "--port", "18476"], cwd=workplace,
        env=environment | {"MLFLOW_TRACKING_URI": uri}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    seen = set[str]()

    def served() -> bool:
        seen.update(command(pid) for pid in (page.pid, *descendants(page.pid)))
        return page.poll() is not None or any("mlflow" in one and "server" in one for one in seen)

    wait_for(served, pause=0.002)
    page.send_signal(signal.SIGTERM)
    said, _ = page.communicate(timeout=60)
    assert any("mlflow" in one and "server" in one for one in seen)
    assert SECRET not in " ".join(seen) + said


class _Recorder(BaseHTTPRequestHandler):
    """Answers /version to who logs in as alice, sends /away/version on to ``elsewhere``; keeps what is asked."""

    asked: ClassVar[list[str | None]]
    elsewhere: ClassVar[str]

    def do_GET(self) -> None:
        self.asked.append(self.headers.get("Authorization"))
        alice = f"Basic {base64.b64encode(f'alice:{SECRET}'.encode()).decode()}"
        self.send_response(302 if "away" in self.path else 200 if self.asked[-1] == alice else 401)
        if "away" in self.path:
            self.send_header("Location", self.elsewhere)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None: ...


@pytest.fixture
def recorder() -> Iterator[type[_Recorder]]:
    class Recorder(_Recorder):
        asked: ClassVar[list[str | None]] = []

    with ThreadingHTTPServer(("127.0.0.1", 0), Recorder) as server:
        Recorder.elsewhere = f"http://127.0.0.1:{server.server_address[1]}/version"
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield Recorder
        server.shutdown()


def test_the_doctor_logs_in_and_is_sent_nowhere(recorder: type[_Recorder], monkeypatch: pytest.MonkeyPatch) -> None:
    place = recorder.elsewhere.removesuffix("/version")
    for uri, status, asked in (
        (place.replace("//", f"//alice:{SECRET}@"), "ok", 1),
        (place.replace("//", "//alice:wrong@"), "warn", 2),
        (place.replace("//", f"//alice:{SECRET}@") + "/away", "warn", 3),
    ):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        (row,) = doctor.mlflow()
        assert (row.status, len(recorder.asked)) == (status, asked)
        assert SECRET not in row.found
