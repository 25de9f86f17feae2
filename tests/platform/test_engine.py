"""One replica on its way: results, stop and resume, kills, locks. Embedded data, a two-filter network."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from runs import new_run

from frisket.algos.parts.tree import flatten
from frisket.algos.state_file import load_state
from frisket.errors import RunError, Stopped
from frisket.platform.run.engine import run_replica
from frisket.platform.run.folder import RunFolder
from frisket.platform.run.journal import read_journal
from frisket.platform.specs.experiment import from_dict

PRETRAIN = {
    "epochs": 2, "patience": 5, "meta_batch": 1, "inner_steps": 1, "meta_batches_per_epoch": 2,
    "validation_episodes": 2, "queries": 2, "learn_step_sizes": True,
}  # fmt: skip


def make_run(parent: Path, steps: int = 40, **fields: Any) -> RunFolder:
    defaults: dict[str, Any] = {
        "name": "tiny",
        "stream": {"p": 0.8, "steps": steps, "shots": 1},
        "learner": {"kind": "sparse-cmaml", "inner_steps": 1, "switch_threshold": 0.2},
        "log_every": 7,
        "checkpoint_seconds": 0.05,
        "variants": {},
    }
    return new_run(parent, "sqlite:///none.db", register=False, **(defaults | fields))


def run_all(folder: RunFolder) -> list[dict[str, Any]]:
    for replica in folder.experiment.replicas():
        run_replica(folder, replica)
    return [{k: r[k] for k in ("seed", "metrics", "sparsity")} for r in folder.results()]


def steps_of(folder: RunFolder, key: str) -> list[dict[str, Any]]:
    return [line for line, _ in read_journal(folder.replica(key).journal) if "step" in line]


def test_results_journal_and_checkpoint_agree(tmp_path: Path) -> None:
    folder = make_run(tmp_path)
    first, second = run_all(folder)
    assert first["metrics"] != second["metrics"]
    steps = steps_of(folder, "seed0")
    assert [line["t"] for line in steps] == list(range(40))
    mean = sum(line["step"]["accuracy"] for line in steps) / 40
    assert first["metrics"]["accuracy"] == pytest.approx(mean, abs=1e-12)
    assert {line["step"]["domain"] for line in steps} <= {"glyphs", "digits", "patches"}
    points = [line["t"] for line, _ in read_journal(folder.replica("seed0").journal) if "points" in line]
    assert points == [6, 13, 20, 27, 34, 39]
    assert folder.replica("seed0").committed_bytes() == folder.replica("seed0").journal.stat().st_size
    assert folder.done


def test_same_seed_same_bits_in_another_folder(tmp_path: Path) -> None:
    assert run_all(make_run(tmp_path / "a")) == run_all(make_run(tmp_path / "b"))


def test_a_finished_replica_is_not_run_again(tmp_path: Path) -> None:
    folder = make_run(tmp_path, seeds=1)
    run_all(folder)
    before = (folder.replica("seed0").path / "result.json").stat().st_mtime_ns
    run_all(folder)
    assert (folder.replica("seed0").path / "result.json").stat().st_mtime_ns == before


@pytest.mark.parametrize("pretrain", [None, PRETRAIN])
def test_stop_and_resume_equals_never_stopped(tmp_path: Path, pretrain: dict[str, Any] | None) -> None:
    learner = {"kind": "cmaml", "inner_steps": 1, "switch_threshold": 0.2}
    fields: dict[str, Any] = {"seeds": 1, "learner": learner} | ({"pretrain": pretrain} if pretrain else {})
    whole, parts = make_run(tmp_path / "a", **fields), make_run(tmp_path / "b", **fields)
    expected = run_all(whole)
    (replica,) = parts.experiment.replicas()
    stops = 0
    while True:
        asked = iter([False])  # go on once, then stop: every attempt gets two positions or epochs further
        try:
            run_replica(parts, replica, stop=lambda asked=asked: next(asked, True))
            break
        except Stopped:
            stops += 1
    assert stops > 10
    assert [{k: r[k] for k in expected[0]} for r in parts.results()] == expected
    assert steps_of(parts, "seed0") == steps_of(whole, "seed0")
    a, b = (flatten(load_state(f.replica("seed0").final)[0]) for f in (whole, parts))
    assert a.keys() == b.keys()
    assert all(a[k].equal(b[k]) for k in a)


@pytest.mark.process
def test_kill_9_and_resume_equals_never_killed(tmp_path: Path) -> None:
    """A real process killed at five random moments; what the journal held beyond the checkpoint is cut and redone."""
    fields: dict[str, Any] = {"steps": 400, "seeds": 1}
    expected = run_all(make_run(tmp_path / "a", **fields))
    folder = make_run(tmp_path / "b", **fields)
    script = (
        "import sys; from pathlib import Path; from frisket.platform.run.engine import run_replica;"
        "from frisket.platform.run.folder import RunFolder; folder = RunFolder.open(Path(sys.argv[1]));"
        "[run_replica(folder, r) for r in folder.experiment.replicas()]"
    )
    root = Path(__file__).parents[2]
    kills = 0
    for _ in range(5):
        worker = subprocess.Popen([sys.executable, "-c", script, str(folder.path)], cwd=root)
        size, deadline = journal_size(folder), time.monotonic() + 60
        while worker.poll() is None and journal_size(folder) <= size and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.1 * kills)
        if worker.poll() is None:
            os.kill(worker.pid, signal.SIGKILL)
            kills += 1
        worker.wait()
    assert kills >= 1
    subprocess.run([sys.executable, "-c", script, str(folder.path)], cwd=root, check=True, timeout=120)
    assert [{k: r[k] for k in expected[0]} for r in folder.results()] == expected
    assert [line["t"] for line in steps_of(folder, "seed0")] == list(range(400))


def journal_size(folder: RunFolder) -> int:
    path = folder.replica("seed0").journal
    return path.stat().st_size if path.exists() else 0


def test_two_processes_cannot_share_a_replica(tmp_path: Path) -> None:
    folder = make_run(tmp_path, seeds=1)
    (replica,) = folder.experiment.replicas()
    with folder.replica(replica).lock(), pytest.raises(RunError, match="another process"):
        run_replica(folder, replica)


def test_find_by_path_prefix_and_last(tmp_path: Path) -> None:
    folder = make_run(tmp_path)
    assert RunFolder.find(str(folder.path), tmp_path).run_id == folder.run_id
    assert RunFolder.find(folder.run_id[:8], tmp_path).path == folder.path
    assert RunFolder.find("last", tmp_path).path == folder.path
    with pytest.raises(RunError, match="known: tiny-"):
        RunFolder.find("nothing", tmp_path)
    with pytest.raises(RunError, match="no runs"):
        RunFolder.find("last", tmp_path / "elsewhere")
    with pytest.raises(RunError, match="not a run folder"):
        RunFolder.open(tmp_path)


def test_manifest_says_which_data_made_it(tmp_path: Path) -> None:
    manifest = json.loads((make_run(tmp_path).path / "run.json").read_text())
    assert manifest["data"]["omniglot"]["name"] == "glyphs"
    assert manifest["data"]["omniglot"]["kind"] == "embedded"
    assert from_dict(manifest["experiment"]).name == "tiny"
