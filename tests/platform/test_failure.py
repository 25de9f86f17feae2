"""What is said of MLflow where it does not take what it is given: no answer, an answer, or something of ours."""

from __future__ import annotations

import logging
import socket
import sqlite3
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory
from mlflow.store.db.utils import _get_alembic_config  # pyright: ignore[reportPrivateUsage]
from runs import MakeRun

import frisket
from frisket.errors import ModelError, TrackingError
from frisket.platform import doctor
from frisket.platform.cli.main import main
from frisket.platform.run.folder import RunFolder
from frisket.platform.tracking.failure import said_of
from frisket.platform.tracking.store import connect, make_store, require_schema
from frisket.platform.tracking.uploader import Uploader, not_sent, unreachable_message

LOGIN = (
    "You are not authenticated. Please see https://www.mlflow.org/docs/latest/auth/index.html#authenticating-to-mlflow"
    " on how to authenticate. And more, that nobody who looks at one line on a terminal has asked for."
)
PAGE = "<!doctype html>\n<html lang=en><title>404 Not Found</title>\n<h1>Not Found</h1>\n<p>No such URL."
FULL = '{"error_code": "BAD_REQUEST", "message": "database or disk is full\\n[SQL: INSERT INTO runs]"}'


@pytest.fixture(scope="module")
def server() -> Iterator[ThreadingHTTPServer]:
    """Answers everything with its class's ``answer``: status and text."""

    class Answering(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            status, text = server.answer  # pyright: ignore[reportAttributeAccessIssue]
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        do_GET = do_POST = _answer

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("status", "text", "said"),
    [
        (401, LOGIN, f"answers 401 Unauthorized ({LOGIN.partition(' And more')[0]} ...)"),
        (403, "Permission denied", "answers 403 Forbidden (Permission denied)"),
        (403, '{"error_code": "PERMISSION_DENIED", "message": "no"}', "answers 403 Forbidden (PERMISSION_DENIED: no)"),
        (404, PAGE, "answers 404 Not Found"),
        (400, FULL, "answers 400 Bad Request (BAD_REQUEST: database or disk is full)"),
        (418, '{"detail": "tea"}', "answers with an error (INTERNAL_ERROR: Response: {'detail': 'tea'})"),
        (500, FULL, "answers 500 Internal Server Error"),
        (502, "<h1>Bad Gateway</h1>", "answers 502 Bad Gateway"),
        (503, "", "answers 503 Service Unavailable"),
        (599, "own", "answers 599 (own)"),
        (200, "hello", "fails (API request to endpoint was successful but the response body was not in a valid JSON "
                       "format. Response body: 'hello')"),
    ],
)  # fmt: skip
def test_what_a_server_answers(status: int, text: str, said: str, server: ThreadingHTTPServer) -> None:
    server.answer = (status, text)  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(Exception) as caught:  # noqa: PT011 - whichever the client has for it
        connect(f"http://127.0.0.1:{server.server_address[1]}").create_experiment("x")
    assert said_of(caught.value) == said


def test_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        silent = f"127.0.0.1:{listening.getsockname()[1]}"
        for address, said in {
            "http://127.0.0.1:9": "Connection refused",
            "http://nowhere.invalid:5000": "",  # what the resolver says depends on the machine
            f"http://{silent}": "timed out",
        }.items():
            with pytest.raises(Exception) as caught:  # noqa: PT011
                connect(address).create_experiment("x")
            assert said_of(caught.value).startswith(f"is not reachable ({said}")
        slammed = threading.Thread(target=lambda: [listening.accept()[0].close() for _ in range(2)])
        slammed.start()  # the one that was silent, and the next
        with pytest.raises(Exception) as caught:  # noqa: PT011
            connect(f"http://{silent}").create_experiment("x")
        slammed.join()
        assert said_of(caught.value).startswith("is not reachable (")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (TrackingError("MLFLOW_TRACKING_URI", None, "set it"), "is not asked (MLFLOW_TRACKING_URI = None: set it)"),
        (ModuleNotFoundError("No module named 'psycopg'"),
         "cannot be asked from here (ModuleNotFoundError: No module named 'psycopg')"),
        (OSError(28, "No space left on device"), "fails (No space left on device)"),
        (KeyError("x"), "fails (KeyError: 'x')"),
        (RuntimeError(), "fails (RuntimeError: )"),
    ],
)  # fmt: skip
def test_what_is_ours(error: Exception, said: str) -> None:
    assert said_of(error) == said


def test_a_refusal_is_told_as_one_by_the_run_and_by_sync(
    server: ThreadingHTTPServer, finished_run: MakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    server.answer = (403, "Permission denied")  # pyright: ignore[reportAttributeAccessIssue]
    uri = f"http://127.0.0.1:{server.server_address[1]}"
    folder = finished_run(uri)
    status = Uploader(folder).push()
    said = f"MLflow at {uri} answers 403 Forbidden (Permission denied)"
    assert not_sent(uri, status) == said
    assert unreachable_message(folder, status).startswith(f"{said}; the run goes on")
    assert main(["sync", str(folder.path)]) == 1
    assert f"not sent, {said}\n" in capsys.readouterr().out


def test_a_database_that_cannot_be_written_or_read(
    workplace: Path, finished_run: MakeRun, caplog: pytest.LogCaptureFixture
) -> None:
    """Told at once, without the client's tries and tracebacks."""
    make_store(f"sqlite:///{workplace}/m.db")
    (workplace / "text.db").write_bytes(b"no database" * 100)
    for uri, said in {
        f"sqlite:///file:{workplace}/m.db?mode=ro&uri=true": "fails (attempt to write a readonly database)",
        f"sqlite:///{workplace}/text.db": "fails (file is not a database)",
    }.items():
        with caplog.at_level(logging.WARNING):
            assert Uploader(finished_run(uri)).push().reason == said
    assert caplog.text == ""


REVISIONS = {
    "older": "make a copy of it, then: mlflow db upgrade 'sqlite:///",
    "newer": "install a newer mlflow, or name another database",
}


@pytest.mark.parametrize("which", REVISIONS)
def test_a_database_of_another_version_of_mlflow_is_left_alone_and_named(
    which: str, workplace: Path, finished: RunFolder, finished_run: MakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    uri = f"sqlite:///{workplace}/mlflow.db"
    make_store(uri)
    require_schema(uri)
    assert {row.status for row in doctor.mlflow()} == {"ok"}
    scripts = ScriptDirectory.from_config(_get_alembic_config(uri))
    (newest,) = scripts.get_heads()
    before = [script.revision for script in scripts.walk_revisions()][1]
    revision = {"older": before, "newer": "0123456789ab"}[which]
    with sqlite3.connect(workplace / "mlflow.db") as store:
        store.execute("update alembic_version set version_num = ?", [revision])
        store.execute("drop table issues")  # which an older one would lack, and MLflow would then make by itself
    store.close()
    content = (workplace / "mlflow.db").read_bytes()

    (row,) = doctor.mlflow()
    assert (row.status, revision in row.found, newest in row.fix, REVISIONS[which] in row.fix) == ("warn", *[True] * 3)
    folder = finished_run(uri)
    assert main(["sync", str(folder.path)]) == 1
    said = capsys.readouterr().out
    assert f"is not asked (schema of {uri} = '{revision}': " in said
    assert said.count("\n") == 1
    assert main(["ui"]) == 2
    with pytest.raises(ModelError, match=revision):
        frisket.load_model("models:/tiny-pair/1")
    assert (workplace / "mlflow.db").read_bytes() == content
