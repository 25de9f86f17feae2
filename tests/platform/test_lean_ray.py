"""A private Ray starts no process that nobody asks anything, and its workers are ready when a search wants them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from processes import alive, command, descendants, wait_for
from ray._private import node, utils
from ray.tune.execution import class_cache

from frisket.errors import FrisketError
from frisket.files import lock
from frisket.platform.cluster import in_turn, session, stand_in
from frisket.platform.cluster.lean import LeanNode, SilentNode, _modest, lean_head
from frisket.platform.executors.at_hand import workers_at_hand


def commands() -> str:
    """What this process has started, and what that has."""
    return "\n".join(command(pid).replace("\0", " ") for pid in descendants(os.getpid()))


@pytest.mark.process
@pytest.mark.usefixtures("ray_cluster")
def test_a_private_cluster_has_no_dashboard_and_no_monitors() -> None:
    running = commands()
    assert "raylet" in running
    assert "gcs_server" in running
    assert not [name for name in ("dashboard.py", "monitor.py", "log_monitor.py") if name in running]


def test_a_stand_in_ends_with_whom_it_reads_from() -> None:
    one = subprocess.Popen([sys.executable, "-I", "-S", stand_in.__file__], stdin=subprocess.PIPE)
    assert one.stdin is not None
    one.stdin.write(b"x" * 10_000)
    one.stdin.flush()
    with pytest.raises(subprocess.TimeoutExpired):
        one.wait(timeout=0.5)
    one.stdin.close()  # as the system does for a raylet that was killed
    assert one.wait(timeout=30) == 0


@pytest.mark.process
def test_a_private_cluster_has_a_stand_in_that_ends_with_its_raylet() -> None:
    code = (
        "from frisket.platform.cluster.session import ray_session\n"
        "with ray_session(1):\n    print('there', flush=True)\n    input()\n"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    variables = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    with subprocess.Popen([sys.executable, "-c", code], env=variables, **pipes) as driver:
        assert driver.stdout is not None
        assert driver.stdout.readline() == "there\n"
        started = {pid: command(pid).split("\0") for pid in descendants(driver.pid)}
        (raylet,) = [pid for pid, words in started.items() if words[0].endswith("/raylet")]
        (waiting,) = [pid for pid, words in started.items() if words[3:4] == [stand_in.__file__]]
        assert not [words for words in started.values() if any(w.endswith("dashboard/agent.py") for w in words[:4])]
        os.kill(raylet, signal.SIGKILL)
        wait_for(lambda: not alive(waiting))
        driver.communicate("\n")  # it ends as well as it can


@pytest.mark.parametrize("modules", ["", "frisket"])
def test_workers_that_import_in_turns_start_in_turns(modules: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(in_turn.MODULES, modules)
    agent = "--dashboard_agent_command=python -u agent.py --x=1"
    given = ["raylet", "--maximum_startup_concurrency=64", "--head", agent]
    raylet, concurrency, head, agent = _modest(given)
    assert (raylet, head) == ("raylet", "--head")
    assert concurrency == f"--maximum_startup_concurrency={in_turn.AT_ONCE if modules else 64}"
    assert agent == f"--dashboard_agent_command={sys.executable} -I -S {stand_in.__file__}"


@pytest.mark.process
@pytest.mark.usefixtures("ray_cluster")
def test_its_workers_can_have_variables_of_their_own() -> None:
    read = ray.remote(lambda: os.environ["FRISKET_TEST"]).options(runtime_env={"env_vars": {"FRISKET_TEST": "said"}})
    assert ray.get(read.remote()) == "said"  # an agent gives them, whose port was chosen beforehand


def test_ray_is_as_it_was_after_a_start() -> None:
    before = node.Node, utils.get_dashboard_dependency_error
    with lean_head():
        assert node.Node is SilentNode
    with lean_head(metrics=True):
        assert node.Node is LeanNode
    assert (node.Node, utils.get_dashboard_dependency_error) == before


def test_a_cluster_that_does_not_come_up_is_tried_once_more(caplog: pytest.LogCaptureFixture) -> None:
    tried = []

    @contextlib.contextmanager
    def cluster(failures: int) -> Iterator[None]:
        tried.append(failures)
        if len(tried) <= failures:
            raise FrisketError("Ray did not start on this machine")
        yield

    with contextlib.ExitStack() as stack:
        session._enter(stack, lambda: cluster(1))
    assert len(tried) == 2
    assert "trying once more" in caplog.text
    tried.clear()
    with pytest.raises(FrisketError), contextlib.ExitStack() as stack:
        session._enter(stack, lambda: cluster(5))
    assert len(tried) == 2


def test_trials_take_waiting_workers_of_a_private_cluster_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    before = class_cache.DEFAULT_ENV_VARS
    monkeypatch.delenv("FRISKET_WORKERS_INHERIT", raising=False)
    with workers_at_hand():
        assert class_cache.DEFAULT_ENV_VARS is before
    monkeypatch.setenv("FRISKET_WORKERS_INHERIT", "1")
    with workers_at_hand():
        assert class_cache.DEFAULT_ENV_VARS == {}
    assert class_cache.DEFAULT_ENV_VARS is before


def test_workers_import_in_turns(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text("print('imported', flush=True)\n", encoding="utf-8")
    said = {
        in_turn.MODULES: "slow",
        in_turn.FOLDER: str(tmp_path),
        "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path]),
    }
    code = f"import os; os.cpu_count = lambda: 1; print('ready', flush=True); import {in_turn.__name__}"
    with lock(tmp_path / "turn-0"):  # as another worker, which imports
        waiting = subprocess.Popen(
            [sys.executable, "-c", code], env=os.environ | said, stdout=subprocess.PIPE, text=True
        )
        assert waiting.stdout is not None
        assert waiting.stdout.readline() == "ready\n"
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.wait(timeout=1)
    assert waiting.communicate(timeout=60)[0] == "imported\n"
