"""Shell completion: from what there is, and without importing anything heavy."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from frisket.platform.specs.text import spec_names

Complete = Callable[..., list[str]]


@pytest.fixture
def complete(workplace: Path, environment: dict[str, str]) -> Complete:
    def call(*words: str, shell: str = "bash") -> list[str]:
        """What the shell is told for the last of ``words``."""
        line = ["frisket", *words]
        asked = {"_FRISKET_COMPLETE": f"complete_{shell}", "COMP_WORDS": "\n".join(line), "COMP_CWORD": str(len(words))}
        asked |= {"_TYPER_COMPLETE_ARGS": " ".join(line)}
        code = (
            "import sys\nfrom frisket.platform.cli.main import main\n"
            "try:\n    main([])\nfinally:\n"
            "    print('HEAVY', *sorted({'torch', 'ray', 'mlflow', 'numpy'} & set(sys.modules)))"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=workplace, env=environment | asked, capture_output=True, text=True
        )
        assert done.stderr == ""
        *found, heavy = done.stdout.splitlines()
        assert heavy == "HEAVY"
        return found

    return call


def test_names_are_completed(complete: Complete, workplace: Path) -> None:
    assert complete("run", "replay/rotations-la") == [n for n in spec_names() if n.startswith("replay/rotations-la")]
    assert complete("reproduce", "lamaml/") == ["lamaml/table1", "lamaml/table2", "lamaml/table3"]
    for name in ("mine", "yours"):
        (workplace / "frisket_runs" / name).mkdir(parents=True)
        (workplace / "frisket_runs" / name / "run.json").touch()
    assert set(complete("run", "--resume", "")) == {"last", "mine", "yours"}
    assert complete("compare", "mine", "y") == ["yours"]
    assert complete("sync", "m") == ["mine"]


def test_kinds_are_completed(complete: Complete) -> None:
    assert complete("run", "demo", "learner.k") == ["learner.kind="]
    assert complete("run", "demo", "learner.kind", "=", "sync") == ["sync-la-maml"]  # bash parts words at `=`
    assert complete("list", "learners", "sync") == ["sync-la-maml"]
    assert '"learner.kind=sync-la-maml"' in complete("run", "demo", "learner.kind=sync", shell="zsh")[0]


def test_the_script_can_be_shown(environment: dict[str, str], workplace: Path) -> None:
    # The shell is the one frisket is called from, so bash has to stay there while it runs.
    called = 'python="$0"; "$python" -m frisket --show-completion; exit $?'
    done = subprocess.run(
        ["bash", "-c", called, sys.executable], cwd=workplace, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "_FRISKET_COMPLETE=complete_bash" in done.stdout
