"""The tasks of meta-batches shared out over real Ray Train workers, one of which is killed."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
from processes import command, descendants, wait_for
from watching import holder, measured

from frisket.platform import executors
from frisket.platform.run.folder import RunFolder
from frisket.platform.verbs import run as launch

pytestmark = [pytest.mark.process, pytest.mark.slow, pytest.mark.usefixtures("ray_cluster", "workplace")]

GLYPHS = {"kind": "episodes", "dataset": "glyphs", "ways": 3, "shots": 1, "queries": 2, "steps": 2400}
MIXTURE = {
    "kind": "mixed-episodes",
    "domains": {"glyphs": None, "digits": None},
    "ways": 2,
    "shots": 1,
    "queries": 2,
    "steps": 2400,
}
SPECS: dict[str, dict[str, Any]] = {
    name: {
        "name": "shared", "seeds": 1, "parallel": "tasks", "checkpoint_seconds": 0.2, "log_every": 50,
        "stream": stream, "network": {"kind": "conv4", "channels": 4, "adapt_norm": name != "sparse-maml"},
        "learner": {"kind": name, "inner_steps": 2, "meta_batch": 4, "alpha": 0.3},
        "protocol": {"kind": "few-shot-accuracy", "every": 100, "validation_episodes": 5, "test_episodes": 5},
    }
    for name, stream in (("sparse-maml", GLYPHS), ("bmp", MIXTURE), ("mmsup", MIXTURE))
}  # fmt: skip


def prepare(spec: dict[str, Any], parent: Path) -> RunFolder:
    return launch.prepare(spec, data="embedded", register=False, runs_dir=parent)


def execute(folder: RunFolder) -> None:
    executors.execute(folder, local=False, workers=2, data_dir=None, stop=lambda: False)


@pytest.fixture(scope="module", params=SPECS)
def spec(request: pytest.FixtureRequest) -> dict[str, Any]:
    return SPECS[request.param]


@pytest.fixture(scope="module")
def undisturbed(spec: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What two workers measure, without interruption."""
    folder = prepare(spec, tmp_path_factory.mktemp("undisturbed"))
    execute(folder)
    return measured(folder)


@pytest.mark.parametrize("leads", [True, False], ids=["who leads", "who accompanies"])
def test_the_group_goes_on_from_its_checkpoint(
    leads: bool, spec: dict[str, Any], undisturbed: dict[str, object], tmp_path: Path
) -> None:
    """The bits are those of a group of the same size that nobody disturbed."""
    folder = prepare(spec, tmp_path)
    (files,) = folder.replicas()
    killed: list[int] = []

    def kill() -> None:
        wait_for((files.path / "committed.json").exists)
        leader = holder(files)
        workers = {pid for pid in descendants(os.getpid()) if "RayTrainWorker" in command(pid)}
        assert leader in workers
        assert len(workers) == 2
        pid = leader if leads else next(iter(workers - {leader}))
        os.kill(pid, signal.SIGKILL)
        assert files.result is None, "killed too late to prove anything"
        killed.append(pid)

    killer = threading.Thread(target=kill)
    killer.start()
    execute(folder)
    killer.join()
    assert killed
    assert measured(folder) == undisturbed
