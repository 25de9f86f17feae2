"""Two nodes, each with its own Ray processes: losing one, a worker or the driver costs time and moves no number."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import searches
import stored
from heads import PATIENCE, Head, Node
from mlflow import MlflowClient
from processes import command, wait_for
from searches import prepare_search
from watching import go_on, holders, measured, stand_still

from frisket.platform.executors import local
from frisket.platform.run.folder import RunFolder
from frisket.platform.verbs import run as launch

pytestmark = [pytest.mark.process, pytest.mark.slow]

_RESERVED_SECONDS = 180
"""So long Ray Train keeps the room of a driver that died. Whoever goes on with its run need not wait for it."""

Drive = Callable[[RunFolder], "subprocess.Popen[str]"]
Make = Callable[[str, str], RunFolder]


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str]) -> Iterator[Head]:
    """A head with one slot."""
    head = Head(tmp_path_factory.mktemp("r") / "h", environment, cpus=1)
    yield head
    head.kill()


@pytest.fixture
def second(head: Head) -> Iterator[Node]:
    """A second node with one slot, gone after the test."""
    node = head.node("second", cpus=1)
    yield node
    node.kill()
    wait_for(lambda: head.cpus() == 1, seconds=PATIENCE)


@pytest.fixture
def drive(head: Head, workplace: Path) -> Iterator[Drive]:
    """``drive(folder)``: the command line, going on with the run on the two nodes."""
    drivers = []

    def begin(folder: RunFolder) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "frisket", folder.verb, "--resume", str(folder.path), "--workers", "2"]
        environment = head.environment | {"RAY_ADDRESS": head.address}
        process = subprocess.Popen(command, cwd=workplace, env=environment, stderr=subprocess.PIPE, text=True)
        drivers.append(process)
        return process

    yield begin
    for process in drivers:
        with process:  # waits, and closes what it writes to
            process.kill()


@pytest.fixture
def make(tiny_spec: str, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """``make(kind, name)``: a run of two replicas, or a search of eight packs, that lasts some seconds."""

    def prepare(kind: str, name: str) -> RunFolder:
        if kind == "tune":
            return prepare_search(workplace / name, stream={**searches.TINY["stream"], "samples": 400})
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{workplace}/{name}.db")
        return launch.prepare(tiny_spec, ["stream.steps=400"], data="embedded", runs_dir=workplace / name)

    return prepare


def undisturbed(folder: RunFolder) -> dict[str, object]:
    local.execute(folder, data_dir=None, stop=lambda: False)
    return measured(folder)


def at_work(driver: subprocess.Popen[str], folder: RunFolder, workers: int = 1) -> set[int]:
    """Its workers, standing still, once so many have committed something and while the driver lives."""

    def lives() -> None:
        assert driver.poll() is None, driver.communicate()[1]

    return stand_still(folder, workers, PATIENCE, lives)


def finish(driver: subprocess.Popen[str]) -> None:
    said = driver.communicate(timeout=2 * PATIENCE)[1]
    assert driver.returncode == 0, said


def check(folder: RunFolder, expected: dict[str, object]) -> None:
    """The numbers are those of an undisturbed run, bit for bit; MLflow has all of them once, every run of its store is
    this run's, and none is left open."""
    assert measured(folder) == expected
    (stored if folder.verb == "run" else searches).assert_all_there_once(folder)
    client = MlflowClient(folder.manifest["tracking"]["uri"])
    everywhere = [experiment.experiment_id for experiment in client.search_experiments()]
    runs = client.search_runs(everywhere)
    assert {run.data.tags["frisket.run_id"] for run in runs} == {folder.run_id}
    assert {run.info.status for run in runs} == {"FINISHED"}


@pytest.mark.parametrize("kind", ["run", "tune"])
def test_lost_node(kind: str, second: Node, drive: Drive, make: Make) -> None:
    expected, folder = undisturbed(make(kind, "undisturbed")), make(kind, "disturbed")
    driver = drive(folder)
    workers = at_work(driver, folder, workers=2)
    assert len(workers & second.family()) == 1, "the work is spread over both nodes"
    second.kill()
    go_on(workers)
    finish(driver)
    check(folder, expected)


@pytest.mark.usefixtures("second")
@pytest.mark.parametrize("kind", ["run", "tune"])
def test_killed_worker(kind: str, drive: Drive, make: Make) -> None:
    expected, folder = undisturbed(make(kind, "undisturbed")), make(kind, "disturbed")
    driver = drive(folder)
    (killed, *others) = at_work(driver, folder)
    os.kill(killed, signal.SIGKILL)
    go_on(others)
    finish(driver)
    check(folder, expected)


@pytest.mark.usefixtures("second")
@pytest.mark.parametrize("kind", ["run", "tune"])
def test_killed_driver(kind: str, drive: Drive, make: Make) -> None:
    expected, folder = undisturbed(make(kind, "undisturbed")), make(kind, "disturbed")
    first = drive(folder)
    workers = at_work(first, folder)
    first.kill()
    first.communicate()
    go_on(workers)
    wait_for(lambda: not holders(folder.replicas()), PATIENCE)
    second = drive(folder)
    wait_for(lambda: bool(holders(folder.replicas())), _RESERVED_SECONDS * 2 / 3)
    finish(second)
    check(folder, expected)


def test_gpu_is_waited_for(head: Head, drive: Drive, tiny_spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a cluster that starts GPUs on demand. The one that comes here is Ray's word only, as the worker finds."""
    monkeypatch.setenv("RAY_ADDRESS", head.address)  # or its lack would be this machine's, and a mistake
    driver = drive(launch.prepare(tiny_spec, ["device=cuda"], data="embedded"))
    assert driver.stderr is not None
    said = next(line for line in driver.stderr if "no GPU yet" in line)
    assert "device=cuda asks for one: waiting for it" in said
    node = head.node("gpu", cpus=1, gpus=1)
    try:
        answer = driver.communicate(timeout=PATIENCE)[1]
    finally:
        node.kill()
    assert driver.returncode == 2, answer
    assert "this machine has no usable GPU" in answer


@pytest.mark.parametrize("died", ["raylet", "gcs_server"])
def test_head_whose_process_is_killed(
    died: str, environment: dict[str, str], workplace: Path, tmp_path_factory: pytest.TempPathFactory, make: Make
) -> None:
    """Ray ends a driver whose raylet or GCS is gone without a word; ours says how to go on, and leaves nobody at
    work."""
    expected, folder = undisturbed(make("run", "undisturbed")), make("run", "disturbed")
    head = Head(tmp_path_factory.mktemp("r") / "h", environment, cpus=1)
    try:
        (killed,) = [pid for pid in head.family() if Path(command(pid).split("\0")[0]).name == died]
        driver = subprocess.Popen(
            [sys.executable, "-m", "frisket", "run", "--resume", str(folder.path), "--workers", "1"],
            cwd=workplace, env=head.environment | {"RAY_ADDRESS": head.address}, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        go_on(at_work(driver, folder))
        os.kill(killed, signal.SIGKILL)
        said = driver.communicate(timeout=PATIENCE)[1]
        assert driver.returncode == 1, said
        assert re.search(rf"go on with: frisket run --resume \S*{folder.run_id}", said), said
        assert "Traceback" not in said
        wait_for(lambda: not holders(folder.replicas()), 60)
    finally:
        head.kill()
    local.execute(folder, data_dir=None, stop=lambda: False)
    assert measured(folder) == expected
