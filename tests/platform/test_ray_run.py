"""The same run in this process, on one Ray worker and on two; mistakes and stops that happen inside workers."""

from __future__ import annotations

import os
import re
import signal
import threading
from pathlib import Path

import pytest
from processes import command, descendants, wait_for
from watching import holder, measured

from frisket.errors import DataError, Stopped
from frisket.platform import executors
from frisket.platform.executors import local
from frisket.platform.run.folder import RunFolder
from frisket.platform.verbs import run as launch

pytestmark = [pytest.mark.process, pytest.mark.usefixtures("ray_cluster", "workplace")]


def never() -> bool:
    return False


def prepare(spec: str, *overrides: str) -> RunFolder:
    return launch.prepare(spec, overrides, data="embedded", register=False)


@pytest.fixture(scope="module")
def undisturbed(tiny_spec: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What the tiny run measures in one process, without interruption."""
    folder = launch.prepare(tiny_spec, data="embedded", register=False, runs_dir=tmp_path_factory.mktemp("undisturbed"))
    local.execute(folder, data_dir=None, stop=never)
    return measured(folder)


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_move_no_number(workers: int, tiny_spec: str, undisturbed: dict[str, object]) -> None:
    folder = prepare(tiny_spec)
    executors.execute(folder, local=False, workers=workers, data_dir=None, stop=never)
    assert folder.done
    assert measured(folder) == undisturbed


def test_killed_worker_is_replaced_and_leaves_no_trace_in_the_numbers(
    tiny_spec: str, undisturbed: dict[str, object]
) -> None:
    folder = prepare(tiny_spec)
    first = folder.replicas()[0]
    killed: list[int] = []

    def kill() -> None:
        wait_for((first.path / "committed.json").exists)
        pid = holder(first)
        assert pid is not None
        assert pid != os.getpid()
        os.kill(pid, signal.SIGKILL)
        assert first.result is None, "killed too late to prove anything"
        killed.append(pid)

    killer = threading.Thread(target=kill)
    killer.start()
    executors.execute(folder, local=False, workers=2, data_dir=None, stop=never)
    killer.join()
    assert killed
    assert measured(folder) == undisturbed


def test_ray_train_starts_only_what_packs_use(tiny_spec: str) -> None:
    folder, seen = prepare(tiny_spec), set[str]()

    def look() -> None:
        wait_for((folder.replicas()[0].path / "committed.json").exists)
        titles = [command(pid) for pid in descendants(os.getpid())]  # a worker of Ray's is titled ray::NAME.method
        seen.update(re.split(r"[.:\s]+", title)[1] for title in titles if title.startswith("ray::"))

    looker = threading.Thread(target=look)
    looker.start()
    executors.execute(folder, local=False, workers=2, data_dir=None, stop=never)
    looker.join()
    assert {"RayTrainWorker", "TrainController"} <= seen
    assert not seen & {"DatasetManager", "PlacementGroupCleaner", "PreemptionWatcher"}


def test_stopped_run_checkpoints_and_goes_on(tiny_spec: str, undisturbed: dict[str, object]) -> None:
    folder = prepare(tiny_spec)
    last = folder.replicas()[-1]
    with pytest.raises(Stopped):
        executors.execute(folder, local=False, workers=2, data_dir=None, stop=(last.path / "committed.json").exists)
    assert last.result is None
    reopened = launch.reopen(str(folder.path))
    local.execute(reopened, data_dir=None, stop=never)
    assert measured(reopened) == undisturbed


def test_mistake_seen_by_a_worker_reaches_the_user(tiny_spec: str, tmp_path: Path) -> None:
    ready = prepare(tiny_spec)
    folder = RunFolder.create(
        tmp_path / "runs", ready.experiment, data_mode="real", data={}, register=False, tracking={}
    )  # fmt: skip
    with pytest.raises(DataError, match=r"nowhere.*not a folder"):
        executors.execute(folder, local=False, workers=1, data_dir=str(tmp_path / "nowhere"), stop=never)


def test_workers_have_the_priority_of_whoever_started_them() -> None:
    """By default Ray would make them give way to everybody (nice 15)."""
    import ray

    assert ray.get(ray.remote(lambda: os.nice(0)).remote()) == os.nice(0)
