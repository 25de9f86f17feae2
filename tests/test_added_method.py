"""A method added to frisket is its file, its page's prose and its specification, and nothing else: in a copy of the
checkout one is added, and what the suite asks of every method is asked of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from frisket.algos.contract import METHOD_CHECKS

METHOD = '''
    """Online SGD with momentum at every sample, as an example of a method of one file.

        v <- decay v + grad L(theta; sample)        theta <- theta - lr v

    Symbols and arguments: decay ``decay``.
    """

    from __future__ import annotations

    from dataclasses import dataclass

    import torch

    from frisket.algos.learner import Method
    from frisket.algos.learners.replay.learner import LOGGED, Measured, PieceLearner, PlainConfig
    from frisket.algos.networks.network import Network
    from frisket.algos.parts.tree import descend
    from frisket.errors import require
    from frisket.types import Data, State, Task


    @dataclass(frozen=True, kw_only=True)
    class HeavyBallConfig(PlainConfig):
        """Attributes: decay: of the velocity."""

        decay: float = 0.9

        def __post_init__(self) -> None:
            super().__post_init__()
            require(0 <= self.decay < 1, "decay", self.decay, "in [0, 1)")


    class HeavyBall(PieceLearner):
        """State: ``seed, step, theta, velocity``."""

        config: HeavyBallConfig

        def __init__(self, config: HeavyBallConfig, network: Network) -> None:
            super().__init__(config, network)

        def init(self, seed: int, warm_start: State | None = None) -> State:
            state = super().init(seed, warm_start)
            return {**state, "velocity": {k: torch.zeros_like(v) for k, v in state["theta"].items()}}

        def learn(self, state: State, data: Data, piece: int, task: Task | None) -> tuple[State, Measured]:
            loss, grads = self.network.loss_and_gradients(state["theta"], data.x, data.y)
            velocity = {k: self.config.decay * v + grads[k] for k, v in state["velocity"].items()}
            theta = descend(state["theta"], self.config.lr, velocity)
            return {**state, "theta": theta, "velocity": velocity}, {"outer_loss": loss}


    METHODS = (
        Method(
            name="heavy-ball", config=HeavyBallConfig, build=HeavyBall, summary="momentum at every sample, no memory",
            page="heavy-ball", logged={**LOGGED}, quick={"lr": 0.01, "decay": 0.5},
        ),
    )
'''
PAGE = """
    # Heavy ball

    `heavy-ball`, in [algos/learners/replay/heavy_ball.py](../../algos/learners/replay/heavy_ball.py).

    ## The method

    Momentum.

    ## Paper or released code

    No choice.

    ## Arguments

    <!-- made by python -m docs.tables: arguments -->
    <!-- end -->

    ## Capabilities

    <!-- made by python -m docs.tables: capabilities -->
    <!-- end -->

    ## What is logged

    <!-- made by python -m docs.tables: logged -->
    <!-- end -->

    ## Published numbers and ours

    <!-- made by python -m docs.tables: numbers -->
    <!-- end -->
"""
SPEC = """
    # Momentum on rotated digits. Seconds.
    stream: {kind: rotations, tasks: 2, samples: 20}
    network: {kind: mlp, hidden: [8]}
    learner: {kind: heavy-ball}
    protocol: {kind: retained-accuracy}
    seeds: 2
"""
ADDED = {
    "algos/learners/replay/heavy_ball.py": METHOD,
    "docs/methods/heavy-ball.md": PAGE,
    "tune_configs/replay/rotations-heavy-ball.yaml": SPEC,
}
KEPT = ("README.md", "pyproject.toml", "frisket", "algos", "envs", "platform", "tune_configs", "docs", "tests")
TESTS = (
    "tests/algos/test_contract.py", "tests/platform/test_methods_pages.py", "tests/test_names.py", "tests/test_docs.py",
    "tests/test_rooms.py",
)  # fmt: skip
"""What the suite asks of every method."""


@pytest.fixture
def copied(checkout: Path, tmp_path: Path) -> Path:
    """The checkout, and the method added."""
    for name in KEPT:
        if (checkout / name).is_file():
            shutil.copy(checkout / name, tmp_path)
        else:
            shutil.copytree(checkout / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name, text in ADDED.items():
        (tmp_path / name).write_text(dedent(text).lstrip(), encoding="utf-8")
    return tmp_path


def ran(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """``python -m`` with the copy's frisket."""
    environment = os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-m", *arguments], cwd=root, env=environment, capture_output=True, text=True, timeout=240
    )


def files(root: Path) -> Iterator[str]:
    for name in KEPT:
        found = (root / name).rglob("*") if (root / name).is_dir() else [root / name]
        yield from (one.relative_to(root).as_posix() for one in found if one.is_file())


def test_file_page_and_specification_are_all(checkout: Path, copied: Path) -> None:
    made = ran(copied, "docs.tables")
    assert made.returncode == 0, made.stderr
    assert "docs/methods/heavy-ball.md: written" in made.stdout
    index = (copied / "docs/methods/README.md").read_text(encoding="utf-8")
    assert "[`heavy-ball`](heavy-ball.md)" in index
    asked = ran(copied, "pytest", "-q", "-p", "no:cacheprovider", *TESTS, "-k", "heavy-ball or heavy_ball or fresh")
    assert asked.returncode == 0, asked.stdout
    count = int(asked.stdout.splitlines()[-1].split()[0])
    assert count >= len(METHOD_CHECKS) + 6, "the contract, the page, the name, the room, the tables"
    new = {name for name in files(copied) if not (checkout / name).exists() and "__pycache__" not in name}
    assert new == set(ADDED)
    changed = {name for name in files(checkout) if "__pycache__" not in name and differs(checkout, copied, name)}
    assert changed <= {"README.md", "docs/methods/README.md", "docs/specifications.md"}


def differs(checkout: Path, copied: Path, name: str) -> bool:
    return (checkout / name).read_bytes() != (copied / name).read_bytes()
