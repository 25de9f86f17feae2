"""The driver killed, stopped or left without MLflow: nothing is lost, nothing is left running."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import typer
from processes import alive, command, descendants, wait_for
from servers import Server
from stored import assert_all_there_once
from watching import go_on, measured, stand_still

from frisket.errors import FrisketError
from frisket.platform.cli.main import main
from frisket.platform.cli.stopping import Stop, resumable
from frisket.platform.executors import local, supervision
from frisket.platform.run.folder import RunFolder
from frisket.platform.tracking.record import Record
from frisket.platform.tracking.uploader import unsent
from frisket.platform.verbs import run as launch

pytestmark = pytest.mark.process
Start = Callable[..., "subprocess.Popen[str]"]
_AGENTS = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")


@pytest.fixture
def start(workplace: Path, environment: dict[str, str], tiny_spec: str) -> Start:
    """Start ``frisket run`` on the tiny run in a process group of its own, as a terminal would."""

    def begin(*options: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "frisket", "run", tiny_spec, "--data", "embedded", "--no-register", *options]
        return subprocess.Popen(
            command, cwd=workplace, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
        )

    return begin


@pytest.fixture
def undisturbed(tiny_spec: str, tmp_path: Path) -> dict[str, object]:
    folder = launch.prepare(tiny_spec, data="embedded", register=False, runs_dir=tmp_path / "undisturbed")
    local.execute(folder, data_dir=None, stop=lambda: False)
    return measured(folder)


def begun(workplace: Path) -> RunFolder:
    """The run in ``workplace``, once a replica has a checkpoint."""
    runs = workplace / "frisket_runs"
    wait_for(lambda: any(runs.glob("*/replicas/*/committed.json")))
    return RunFolder.find("last", runs)


@pytest.fixture(scope="module")
def slow_to_die() -> Iterator[set[int]]:
    """Ray's agents take a minute to believe that their node is gone; meanwhile the other tests here do their work."""
    agents: set[int] = set()
    yield agents
    wait_for(lambda: not any(alive(pid) for pid in agents), seconds=120)


def test_killed_driver_leaves_no_process_and_its_run_goes_on(
    start: Start, workplace: Path, undisturbed: dict[str, object], slow_to_die: set[int]
) -> None:
    driver = start("--workers", "2")
    workers = stand_still(folder := begun(workplace))
    family = descendants(driver.pid)
    assert len(family) > 2, "Ray's processes are its descendants"
    slow_to_die |= (agents := {pid for pid in family if command(pid) in _AGENTS})
    driver.kill()
    driver.communicate()
    go_on(workers)
    assert not folder.done
    wait_for(lambda: not any(alive(pid) for pid in family - agents), seconds=60)
    assert main(["run", "--resume", "last", "--local"]) == 0
    assert measured(folder) == undisturbed


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 1), (signal.SIGINT, 130)])
def test_signal_stops_with_a_checkpoint(
    number: int, code: int, start: Start, workplace: Path, undisturbed: dict[str, object]
) -> None:
    driver = start("--local")
    workers = stand_still(folder := begun(workplace))
    os.killpg(driver.pid, number)
    go_on(workers)
    said = driver.communicate(timeout=60)[1]
    assert driver.returncode == code
    assert f"frisket run --resume {folder.run_id}" in said
    assert "Traceback" not in said
    assert main(["run", "--resume", folder.run_id, "--local"]) == 0
    assert measured(folder) == undisturbed


def test_ctrl_c_reaches_ray_workers_and_leaves_no_process(start: Start, workplace: Path) -> None:
    driver = start("--workers", "2")
    workers = stand_still(folder := begun(workplace))
    family = descendants(driver.pid)
    os.killpg(driver.pid, signal.SIGINT)  # a terminal sends it to the whole group, Ray's processes included
    wait_for(supervision._stop_file(folder).exists)
    time.sleep(supervision._LOOK_SECONDS)  # so that workers look for it at their very next step
    go_on(workers)
    said = driver.communicate(timeout=120)[1]
    assert driver.returncode == 130
    assert f"--resume {folder.run_id}" in said
    assert "Traceback" not in said
    wait_for(lambda: not any(alive(pid) for pid in family), seconds=30)


def test_what_fails_because_of_the_stop_is_no_failure(capsys: pytest.CaptureFixture[str]) -> None:
    # Ctrl-C reaches a compiler at work too, and torch then says that the program does not compile.
    stop = Stop()
    with pytest.raises(RuntimeError, match="of its own"), resumable("frisket run --resume it", stop):
        raise RuntimeError("of its own")
    assert "not finished; once what follows is mended, go on with: frisket run --resume it" in capsys.readouterr().err
    stop.take(signal.SIGINT, None)
    with pytest.raises(typer.Exit) as ended, resumable("frisket run --resume it", stop):
        raise RuntimeError("C++ compile error")
    assert ended.value.exit_code == 130
    assert "stopped at once (RuntimeError); go on with: frisket run --resume it" in capsys.readouterr().err
    with pytest.raises(FrisketError), resumable("frisket run --resume it", stop):  # says itself what is wrong
        raise FrisketError("a checkpoint could not be written")


def test_ray_that_does_not_start_is_said_in_a_line(
    workplace: Path, environment: dict[str, str], tiny_spec: str
) -> None:
    program = "\n".join(
        [
            "import sys",
            "from frisket.platform.cli.main import main",
            "from frisket.platform.cluster import session",
            "session._OBJECT_STORE_BYTES = 1",  # Ray has no store so small
            "raise SystemExit(main(['run', sys.argv[1], '--data', 'embedded', '--no-register', '--workers', '1']))",
        ]
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, tiny_spec], cwd=workplace, env=environment, capture_output=True, text=True,
        timeout=120,
    )  # fmt: skip
    assert ended.returncode == 1
    assert ended.stderr.count("Ray did not start on this machine") == 2
    assert "trying once more" in ended.stderr
    assert "--local" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.usefixtures("ray_cluster")
def test_absent_mlflow_costs_one_warning(
    tiny_spec: str, workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")  # the discard port: nobody listens
    assert main(["run", tiny_spec, "stream.steps=60", "--data", "embedded"]) == 0
    err = capsys.readouterr().err
    assert err.count("is not reachable") == 1
    assert "frisket sync" in err
    assert RunFolder.find("last", workplace / "frisket_runs").done


def test_server_killed_under_a_run_loses_no_point(
    own_server: Server, workplace: Path, environment: dict[str, str], tiny_spec: str
) -> None:
    """The command line and a real server, killed with -9 after the first points have arrived and before the last."""
    environment = environment | {"MLFLOW_TRACKING_URI": own_server.uri}
    frisket = [sys.executable, "-m", "frisket"]
    run = subprocess.Popen(
        [*frisket, "run", tiny_spec, "stream.steps=2000", "--data", "embedded"],
        cwd=workplace, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    workers = stand_still(folder := begun(workplace))
    assert run.pid not in workers, "whoever sends does not stand still"
    wait_for(lambda: any(child.sent for child in Record.of(folder).children.values()))
    own_server.kill()
    assert not folder.done, "too late to prove anything"
    go_on(workers)
    said = run.communicate(timeout=240)[1]
    assert run.returncode == 0, said
    assert said.count("is not reachable") == 1
    assert unsent(folder)
    own_server.start()
    subprocess.run([*frisket, "sync"], cwd=workplace, env=environment, check=True, timeout=240)
    assert_all_there_once(folder)
