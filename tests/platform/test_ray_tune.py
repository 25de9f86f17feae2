"""A search on Ray Tune: killed drivers and workers move no number, races stop points, mistakes reach the user."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from processes import wait_for
from searches import TINY, assert_all_there_once, never, prepare_search, write
from watching import holders, measured

import frisket
from frisket.platform import executors
from frisket.platform.cli.main import main
from frisket.platform.executors import local
from frisket.platform.run.folder import RunFolder
from frisket.platform.run.points import points_of
from frisket.platform.tracking.record import Record

pytestmark = [pytest.mark.process, pytest.mark.usefixtures("ray_cluster", "workplace")]

DRIVER = """
import sys
from pathlib import Path
from frisket.platform import executors
from frisket.platform.run.folder import RunFolder
from frisket.platform.tracking.background import BackgroundUploader
folder = RunFolder.open(Path(sys.argv[1]))
with BackgroundUploader(folder, pause=0.1):
    executors.execute(folder, local=False, workers=1, data_dir=None, stop=lambda: False)
"""


def kill_a_worker(folder: RunFolder, killed: list[int]) -> None:
    """Kill -9 the first process that is seen to hold a replica."""
    seen: set[int] = set()

    def at_work() -> bool:
        seen.update(holders(folder.replicas()))
        return bool(seen)

    wait_for(at_work)
    pid = seen.pop()
    assert pid != os.getpid()
    os.kill(pid, signal.SIGKILL)
    killed.append(pid)


def stamps(folder: RunFolder) -> dict[str, tuple[int, int]]:
    """When the journal and the result of every finished replica were last written."""
    return {
        f.key: (f.journal.stat().st_mtime_ns, (f.path / "result.json").stat().st_mtime_ns)
        for f in folder.replicas()
        if f.result is not None
    }


def test_killed_driver_and_killed_worker_cost_nothing_but_time(workplace: Path, environment: dict[str, str]) -> None:
    stream = {**TINY["stream"], "samples": 1000}  # time enough to be killed in the middle
    undisturbed, folder = (prepare_search(workplace / name, stream=stream) for name in ("undisturbed", "killed"))
    local.execute(undisturbed, data_dir=None, stop=never)
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(folder.path)], cwd=workplace, env=environment, start_new_session=True
    )
    wait_for(lambda: bool(folder.results()) and Record.of(folder).open and bool(Record.of(folder).children))
    driver.kill()
    driver.wait()
    wait_for(lambda: not holders(folder.replicas()))
    before = stamps(folder)
    assert 0 < len(before) < 8, "killed too late to prove anything"
    killed: list[int] = []
    killer = threading.Thread(target=kill_a_worker, args=(folder, killed))
    killer.start()
    assert main(["tune", "--resume", folder.run_id, "--runs-dir", str(folder.path.parent)]) == 0
    killer.join()
    assert killed
    assert {key: stamp for key, stamp in stamps(folder).items() if key in before} == before
    assert measured(folder) == measured(undisturbed)
    assert_all_there_once(folder)


def test_race_stops_points_and_finishes_others(workplace: Path) -> None:
    axes = {"learner.alpha_lr": [0.0, 1.0, 2.0, 3.0]}  # a rate that is not learned closes no weight
    tune = {"axes": axes, "search": "asha", "metric": "sparsity", "mode": "min", "grace": 0.5, "reduction": 2}
    folder = prepare_search(workplace, seeds=1, tune=tune)
    executors.execute(folder, local=False, workers=1, data_dir=None, stop=never)
    assert folder.done
    best, *others = points_of(folder)
    assert (best.values, best.score, best.finished) == ({"learner.alpha_lr": 0.0}, 0.0, True)
    assert [p.stopped for p in others] == [{"step": 4, "of": 8}] * 3
    plain = frisket.run(write(workplace, seeds=1), ["tune=null", "learner.alpha_lr=0.0"], data="embedded", local=True)
    assert plain.summary["summary"] == best.metrics


def test_mistake_met_in_a_trial_reaches_the_user(workplace: Path) -> None:
    ready = prepare_search(workplace)
    folder = RunFolder.create(
        workplace / "other", ready.experiment, data_mode="real", data={}, register=False, tracking={}
    )  # fmt: skip
    with pytest.raises(frisket.UserError, match=r"nowhere.*not a folder"):
        executors.execute(folder, local=False, workers=1, data_dir=str(workplace / "nowhere"), stop=never)
