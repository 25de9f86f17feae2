"""A loss that is no finite number: said once per replica, in the journal, on the way and at the end; nothing stops."""

from __future__ import annotations

import io
import json
import math
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from frisket.errors import Stopped
from frisket.platform.cli.main import main
from frisket.platform.cli.progress import ProgressLine
from frisket.platform.run.divergence import divergences, is_lost
from frisket.platform.run.engine import run_pack
from frisket.platform.run.folder import RunFolder
from frisket.platform.run.journal import read_journal
from frisket.platform.run.progress import take
from frisket.platform.run.summary import summarise
from frisket.platform.verbs.run import prepare

SPEC = "replay/rotations-online"
SMALL = ["stream.tasks=2", "stream.samples=60", "stream.test_samples=50"]
WILD = "learner.lr=1e+18"


def run_folder(parent: Path, *overrides: str, seeds: int = 2) -> RunFolder:
    return prepare(SPEC, [*SMALL, *overrides], seeds=seeds, data="embedded", runs_dir=parent, register=False)


def run_all(folder: RunFolder) -> None:
    for pack in folder.packs:
        run_pack(folder, pack)


def warnings_of(folder: RunFolder, key: str) -> list[dict[str, Any]]:
    return [line for line, _ in read_journal(folder.replica(key).journal) if "warning" in line]


@pytest.fixture(scope="module")
def wild(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A finished run whose two seeds have diverged."""
    folder = run_folder(tmp_path_factory.mktemp("wild"), WILD)
    run_all(folder)
    return folder


def test_said_once_in_the_journal_where_the_loss_is_lost(wild: RunFolder) -> None:
    for seed in (0, 1):
        key = f"seed{seed}"
        (said,) = warnings_of(wild, key)
        assert said["warning"].startswith(f"{key}: the loss at step {said['t']} is no finite number.")
        losses = {
            line["t"]: line["step"].get("loss_before", math.nan)
            for line, _ in read_journal(wild.replica(key).journal)
            if "step" in line
        }
        assert len(losses) == 12  # the run went on to its end
        assert min(t for t, loss in losses.items() if not math.isfinite(loss)) == said["t"] > 0
        result = wild.replica(key).result
        assert result is not None
        assert result["diverged"] == said["t"]


def test_summary_says_which(wild: RunFolder) -> None:
    found = divergences(wild)
    assert set(found) == {"seed0", "seed1"}
    assert json.loads(json.dumps(summarise(wild)))["diverged"] == found


def test_progress_line_says_it_once_and_takes_it_for_no_score(wild: RunFolder) -> None:
    out = io.StringIO()
    with ProgressLine(wild, 1, Console(file=out, width=300)):
        time.sleep(0.7)  # it looks every half second, and once more at the end
    text = out.getvalue()
    for seed in (0, 1):
        assert text.count(f"warning: seed{seed}: the loss at step") == 1
    assert "smaller learning rate" in text
    assert set(take(wild, 1).scores) == {"ra"}


def test_a_healthy_run_says_nothing(tmp_path: Path) -> None:
    folder = run_folder(tmp_path, seeds=1)
    run_all(folder)
    assert warnings_of(folder, "seed0") == []
    assert divergences(folder) == {}
    assert "diverged" not in summarise(folder)
    result = folder.replica("seed0").result
    assert result is not None
    assert "diverged" not in result


def test_stopped_after_it_and_resumed_it_is_not_said_again(wild: RunFolder, tmp_path: Path) -> None:
    folder = run_folder(tmp_path, WILD, seeds=1)
    (pack,) = folder.packs
    stops = 0
    while not folder.done:
        asked = iter([False])
        try:
            run_pack(folder, pack, stop=lambda asked=asked: next(asked, True))
        except Stopped:
            stops += 1
    assert stops >= 4
    assert warnings_of(folder, "seed0") == warnings_of(wild, "seed0")
    assert divergences(folder) == {"seed0": divergences(wild)["seed0"]}


def test_command_line_warns_and_ends_well(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", SPEC, *SMALL, WILD, "--seeds", "1", "--data", "embedded", "--local", "--json", "out.json"]) == 0
    out, err = capsys.readouterr()
    assert err.count("warning: seed0: the loss at step") == 1
    step = json.loads((workplace / "out.json").read_text())["diverged"]["seed0"]
    assert f"diverged  seed0 (step {step}): " in out


@pytest.mark.parametrize(
    ("record", "lost"),
    [
        ({"loss_before": 0.3}, False),
        ({"loss_before": math.nan}, True),
        ({"loss_before": math.inf}, True),
        ({"outer_loss": math.nan, "loss_before": 1e9}, False),  # nothing to measure there
        ({"accuracy": 0.1}, False),
    ],
)
def test_what_counts_as_lost(record: dict[str, float], lost: bool) -> None:
    assert is_lost(record) == lost
