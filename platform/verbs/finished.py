"""What the verbs give back; imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

StateName = Literal["done", "running", "stopped", "damaged"]
"""How a run stands: ``running``: a process holds it; ``damaged``: its folder cannot be read."""

STATES: tuple[StateName, ...] = get_args(StateName)


@dataclass(frozen=True, kw_only=True)
class FinishedRun:
    """What `frisket.run` and `frisket.tune` give back.

    Attributes:
        run_id: its name, for ``frisket run --resume`` and ``frisket sync``.
        path: its folder: journals, checkpoints, masks, figures.
        summary: what ``--json`` writes: ``results`` per seed, ``summary`` with ``{"mean", "std", "n"}`` per
            metric, ``mlflow``.
    """

    run_id: str
    path: Path
    summary: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class FinishedReproduction:
    """What `frisket.reproduce` gives back.

    Attributes:
        run_id: its name, for ``frisket reproduce --resume``.
        path: its folder.
        out: the folder of its report: Markdown, JSON, picture.
        summary: what ``--json`` writes; ``comparison`` holds published, ours, difference and verdict.
    """

    run_id: str
    path: Path
    out: Path
    summary: dict[str, Any]
