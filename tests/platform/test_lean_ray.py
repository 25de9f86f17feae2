"""A private Ray starts no process that nobody asks anything, and its workers are ready when a search wants them."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from ray._private import node, utils
from ray.tune.execution import class_cache
from watching import descendants

from frisket.errors import FrisketError
from frisket.files import lock
from frisket.platform.cluster import in_turn, session
from frisket.platform.cluster.lean import LeanNode, SilentNode, lean_head
from frisket.platform.executors.at_hand import workers_at_hand


def commands() -> str:
    """What this process has started, and what that has."""
    return "\n".join(Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ") for pid in descendants(os.getpid()))


@pytest.mark.process
@pytest.mark.usefixtures("ray_cluster")
def test_a_private_cluster_has_no_dashboard_and_no_monitors() -> None:
    running = commands()
    assert "raylet" in running
    assert "gcs_server" in running
    assert not [name for name in ("dashboard.py", "monitor.py", "log_monitor.py") if name in running]


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
