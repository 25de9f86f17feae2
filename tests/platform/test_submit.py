"""What `frisket submit` checks before anything is sent, and what it makes of what the head already knows."""

from __future__ import annotations

import io
import json
import shutil
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import ray

from frisket.errors import ClusterError
from frisket.platform.cli.main import main
from frisket.platform.cluster.head import auth_token, head_address, require_same_ray
from frisket.platform.cluster.package import limit, require_small
from frisket.platform.cluster.session import ray_session
from frisket.platform.cluster.submission import Job, JobServer, name_of_work
from frisket.platform.specs.experiment import load_spec

TOKEN = "0123456789abcdef"


class FakeHead:
    """Answers as a head's dashboard does, and keeps what it is asked. Attributes: version; status: of every answer, for
    refusals; jobs: it knows; asked: method and path of every request; sent: bodies of submitted jobs; packages: bodies
    of uploads; silent: gives no answer; elsewhere: where a redirect leads."""

    def __init__(self) -> None:
        self.version, self.status, self.jobs, self.wait = (
            ray.__version__,
            200,
            list[dict[str, Any]](),
            threading.Event(),
        )
        self.asked, self.sent, self.packages = list[str](), list[dict[str, Any]](), list[bytes]()
        self.silent, self.elsewhere = False, ""
        head = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                head.asked.append(f"GET {self.path}")
                if head.silent:
                    head.wait.wait(20)
                if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                    self._answer(403 if self.headers.get("Authorization") else 401, "no")
                elif self.path == "/api/version":
                    self._answer(head.status, {"version": "4", "ray_version": head.version}, head.elsewhere)
                elif self.path == "/api/jobs/":
                    self._answer(200, head.jobs)
                else:
                    self._answer(404, "not here")

            def do_PUT(self) -> None:
                head.asked.append(f"PUT {self.path}")
                head.packages.append(self.rfile.read(int(self.headers["Content-Length"])))
                self._answer(200, {})

            def do_POST(self) -> None:
                head.asked.append(f"POST {self.path}")
                head.sent.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self._answer(200, {"job_id": "1", "submission_id": head.sent[-1]["submission_id"]})

            def _answer(self, status: int, body: object, elsewhere: str = "") -> None:
                raw = (body if isinstance(body, str) else json.dumps(body)).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(raw)))
                if elsewhere:
                    self.send_header("Location", elsewhere)
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, format: str, *arguments: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def knows(self, job_id: str, status: str) -> None:
        """From now on it has a job of that id."""
        self.jobs.append({"type": "SUBMISSION", "submission_id": job_id, "status": status, "entrypoint": "true"})

    def close(self) -> None:
        self.wait.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def head() -> Iterator[FakeHead]:
    head = FakeHead()
    yield head
    head.close()


@pytest.fixture(autouse=True)
def token(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The token's file; the environment names it, and no head."""
    for name in ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS", "RAY_AUTH_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    path = workplace / "token"
    path.touch(mode=0o600)
    path.write_text(TOKEN + "\n")
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(path))
    return path


def submitted(head: FakeHead, *arguments: str) -> int:
    """The exit code of `frisket submit`, which follows nothing."""
    return main(["submit", *arguments, "--address", head.url, "--no-wait"])


def test_name_says_what_is_computed_and_nothing_else(tiny_spec: str) -> None:
    name = name_of_work(load_spec(tiny_spec), data="auto")
    assert name == name_of_work(load_spec(tiny_spec), data="auto")
    assert name.startswith("tiny-")
    others = [
        name_of_work(load_spec(tiny_spec, ["stream.p=0.8"]), data="auto"),
        name_of_work(load_spec(tiny_spec, seeds=3), data="auto"),
        name_of_work(load_spec(tiny_spec), data="real"),
        name_of_work(load_spec("demo"), data="auto"),
    ]
    assert len({name, *others}) == 5


def test_address_is_the_nearest_one_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert head_address(None) == "http://127.0.0.1:8265"
    monkeypatch.setenv("RAY_ADDRESS", "http://far:1")
    assert head_address(None) == "http://far:1"
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://near:2/")
    assert head_address(None) == "http://near:2"
    assert head_address("https://here:3") == "https://here:3"
    with pytest.raises(ClusterError, match=r"head:6379.*dashboard"):
        head_address("head:6379")


def test_token_must_be_said_and_secret(token: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert auth_token() == TOKEN
    token.chmod(0o644)
    with pytest.raises(ClusterError, match=f"chmod 600 {token}"):
        auth_token()
    token.chmod(0o600)
    token.write_text("\n")
    with pytest.raises(ClusterError, match="empty"):
        auth_token()
    token.unlink()
    with pytest.raises(ClusterError, match="cannot be read"):
        auth_token()
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH")  # there may be one in the home; it is not looked at
    with pytest.raises(ClusterError, match="must name the file"):
        auth_token()
    monkeypatch.setenv("RAY_AUTH_TOKEN", "abc")
    assert auth_token() == "abc"
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert auth_token() is None
    monkeypatch.delenv("RAY_AUTH_MODE")
    with pytest.raises(ClusterError, match="RAY_AUTH_MODE=token"):
        auth_token()


def test_head_of_another_ray_is_refused_before_anything_is_sent(
    head: FakeHead, tiny_spec: str, checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    head.version = "2.41.0"
    assert submitted(head, tiny_spec, "--working-dir", str(checkout)) == 2
    err = capsys.readouterr().err
    assert "runs Ray 2.41.0" in err
    assert ray.__version__ in err
    assert len(err.strip().splitlines()) == 1
    assert head.asked == ["GET /api/version"]


def test_wrong_token_and_none(
    head: FakeHead, token: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    token.write_text("another")
    assert submitted(head, "demo") == 2
    assert "refuses this token" in capsys.readouterr().err
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert submitted(head, "demo") == 2
    assert "asks for a token" in capsys.readouterr().err
    assert head.asked == ["GET /api/version"] * 2


def test_what_is_no_head(head: FakeHead) -> None:
    require_same_ray(head.url, TOKEN)
    head.status = 404
    with pytest.raises(ClusterError, match="answers 404"):
        require_same_ray(head.url, TOKEN)
    head.status, head.version = 200, ""
    with pytest.raises(ClusterError, match="runs Ray ,"):
        require_same_ray(head.url, TOKEN)
    head.silent = True
    with pytest.raises(ClusterError, match=r"no Ray head answers there.*timed out"):
        require_same_ray(head.url, TOKEN, seconds=0.2)
    for nowhere in ("http://127.0.0.1:9", "http://", "http://127.0.0.1:port"):
        with pytest.raises(ClusterError, match="no Ray head answers there"):
            require_same_ray(nowhere, TOKEN)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_head_that_sends_us_elsewhere_gets_nobody_the_token(head: FakeHead, status: int) -> None:
    other = FakeHead()
    head.status, head.elsewhere = status, f"{other.url}/api/version"
    try:
        with pytest.raises(ClusterError, match=r"sends us on to http://127\.0\.0\.1.*where the token does not go"):
            require_same_ray(head.url, TOKEN)
    finally:
        other.close()
    assert (head.asked, other.asked) == (["GET /api/version"], [])


@pytest.mark.parametrize(
    ("address", "said"),
    [("127.0.0.1:9", r"127\.0\.0\.1:9.*no Ray cluster answers there"), ("garbage", r"garbage.*is no address of a Ray")],
)
def test_unknown_address_of_a_cluster_is_said_at_once(address: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)  # other tests of this process may have a session
    with pytest.raises(ClusterError, match=said), ray_session(1):
        pass


def test_too_large_a_folder_is_refused_before_anything_is_sent(
    head: FakeHead, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = workplace / "work"
    (folder / "sets").mkdir(parents=True)
    with (folder / "sets" / "large.bin").open("wb") as file:
        file.truncate(limit())  # a hole: takes no disk
    assert submitted(head, "demo", "--working-dir", str(folder)) == 2
    err = capsys.readouterr().err
    assert f"sets ({limit() // 2**20} MiB)" in err
    assert str(folder / ".rayignore") in err
    assert head.asked == ["GET /api/version"]
    (folder / ".rayignore").write_text("/sets/\n")
    assert submitted(head, "demo", "--working-dir", str(folder)) == 0
    assert len(head.sent) == 1


def test_what_is_measured_is_what_is_sent(head: FakeHead, workplace: Path) -> None:
    folder = workplace / "work"
    kept = ["frisket/__main__.py", "envs/data/a.py", "one.yaml", "deep/down/b.py"]
    left_out = ["data/set.bin", "mlflow.db", ".venv/x.py", "venv/y.py", ".git/z", "deep/data.db", "a/__pycache__/b.pyc"]
    for name in kept + left_out:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    (folder / ".gitignore").write_text("mlflow.db*\n")
    (folder / ".rayignore").write_text("/data/\n")
    (folder / "deep" / ".rayignore").write_text("*.db\n")
    assert submitted(head, str(folder / "one.yaml"), "--working-dir", str(folder)) == 2  # no specification: its text
    (folder / "one.yaml").write_text("{learner: {kind: online-adam}}")
    assert submitted(head, str(folder / "one.yaml"), "--working-dir", str(folder)) == 0
    (package,) = head.packages
    with zipfile.ZipFile(io.BytesIO(package)) as archive:
        sent = {name for name in archive.namelist() if not name.endswith("/")}
    assert sent == require_small(folder) == {*kept, ".gitignore", ".rayignore", "deep/.rayignore"}
    assert head.sent[0]["entrypoint"].startswith("python -m frisket run one.yaml ")


def test_method_of_ones_own_is_sent_with_its_specification(
    head: FakeHead, checkout: Path, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = workplace / "own_method"
    shutil.copytree(checkout / "examples" / "own_method", folder)
    spec = str(folder / "derpp.yaml")
    assert submitted(head, spec, "--working-dir", str(folder)) == 0
    (package,) = head.packages
    with zipfile.ZipFile(io.BytesIO(package)) as archive:
        assert {"derpp.yaml", "derpp.py"} <= set(archive.namelist())
    name = head.sent[0]["submission_id"]
    assert head.sent[0]["entrypoint"] == f"python -m frisket run derpp.yaml --data auto --run-id {name}"

    (folder / "derpp.py").write_text((folder / "derpp.py").read_text() + "# another text\n")
    assert submitted(head, spec, "--working-dir", str(folder)) == 0
    assert head.sent[1]["submission_id"] != name  # another text is other work
    (folder / ".rayignore").write_text("*.py\n")
    assert submitted(head, spec, "--working-dir", str(folder)) == 2
    assert "derpp.py': is not sent: a .gitignore or .rayignore leaves it out" in capsys.readouterr().err
    assert len(head.sent) == 2


def test_checkout_is_sent_without_what_a_job_does_not_need(checkout: Path) -> None:
    sent = require_small(checkout)
    needed = [p for top in ("frisket", "platform", "envs", "algos") for p in (checkout / top).rglob("*.py")]
    needed += (checkout / "tune_configs").rglob("*.yaml")
    assert {p.relative_to(checkout).as_posix() for p in needed} <= sent
    assert "pyproject.toml" in sent  # by it frisket knows a checkout
    tops = {name.split("/")[0] for name in sent}
    assert not tops & {"tests", "docs", "benchmarks", "k8s", "build", ".git", ".venv", "frisket_runs", "mlflow.db"}
    assert sum((checkout / name).stat().st_size for name in sent) < 5 * 2**20


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "SPEC"),
        (["demoo"], "did you mean 'demo'"),
        (["demo", "stream.p=2"], "stream.p"),
        (["demo", "--installed", "--working-dir", "."], "leave --wheel and --working-dir out"),
        (["demo", "--working-dir", "nowhere"], "is not a folder"),
        (["TINY", "--installed"], "must lie in the folder that is sent"),
        (["TINY", "--working-dir", "."], "must lie in the folder that is sent"),
        (["hidden.yaml", "--working-dir", "."], "leaves it out"),
        (["demo", "--wheel", "no.whl"], "no.whl"),
        (["demo", "--wheel", "token"], "cannot be read"),
    ],
)
def test_mistake(
    arguments: list[str], said: str, head: FakeHead, tiny_spec: str, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (workplace / "hidden.yaml").write_text("{learner: {kind: online-adam}}")
    (workplace / ".rayignore").write_text("hidden.yaml\n")
    assert submitted(head, *(tiny_spec if word == "TINY" else word for word in arguments)) == 2
    err = capsys.readouterr().err
    assert said in err
    assert "Traceback" not in err
    assert head.packages == head.sent == []


def test_job_is_started_once_and_again_only_after_it_ended_badly(head: FakeHead) -> None:
    server, job = JobServer(head.url, TOKEN), Job(name="tiny-1", arguments=("run", "demo"))
    first = server.submit(job)
    assert (first.id, first.new) == ("tiny-1", True)
    for status in ("PENDING", "RUNNING", "SUCCEEDED"):
        head.jobs.clear()
        head.knows("tiny-1", status)
        assert not server.submit(job).new
    for status in ("STOPPED", "FAILED"):
        head.jobs.clear()
        head.knows("other", "RUNNING")
        head.knows("tiny-1", status)
        again = server.submit(job)
        assert (again.id, again.new) == ("tiny-1.2", True)
        head.knows("tiny-1.2", "RUNNING")
        assert (server.submit(job).id, server.submit(job).new) == ("tiny-1.2", False)
    assert [sent["submission_id"] for sent in head.sent] == ["tiny-1", "tiny-1.2", "tiny-1.2"]
    assert {sent["entrypoint"] for sent in head.sent} == {"python -m frisket run demo"}
    assert int(head.sent[0]["runtime_env"]["env_vars"]["RAY_JOB_STOP_WAIT_TIME_S"]) > 60


def test_address_wins_over_the_environment(head: FakeHead, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://127.0.0.1:9")
    assert submitted(head, "demo", "--installed", "--seeds", "2", "--workers", "3", "--runs-dir", "/runs") == 0
    command = head.sent[0]["entrypoint"]
    assert "--seeds 2 --workers 3 --runs-dir /runs" in command
    assert head.packages == []
    assert f"--run-id {head.sent[0]['submission_id']}" in command
