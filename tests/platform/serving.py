"""Small feeds and recipes that the tests of the streaming service share."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from frisket.envs.data import resolve
from frisket.envs.stream import Stream
from frisket.errors import DataError
from frisket.platform.streaming.chunk import Item
from frisket.platform.streaming.feed import Feed
from frisket.platform.streaming.streams import StreamRecipe
from frisket.rng import torch_generator

CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "osaka": ("osaka", {"domains": {"digits": 0.5, "glyphs": 0.5}, "p": 0.8, "ways": 3, "shots": 2, "steps": 60}),
    "osaka-raw": ("osaka", {"domains": {"digits": 1.0}, "raw_scale": ["digits"], "ways": 3, "shots": 1, "steps": 40}),
    "rotations": ("rotations", {"dataset": "digits", "tasks": 3, "samples": 60, "test_samples": 90}),
    "permutations": (
        "permutations",
        {"dataset": "digits", "tasks": 3, "samples": 40, "test_samples": 90, "validation": 20, "pad": 2, "mean": 0.1,
         "std": 0.2752, "epochs": 2},
    ),
    "split-classes": (
        "split-classes",
        {"dataset": "digits", "tasks": 3, "classes_per_task": 2, "samples": 40, "validation": 0.2, "own_classes": True},
    ),
    "incremental": (
        "incremental",
        {"dataset": "digits", "classes_per_task": 4, "epochs": 2, "validation": 0.1, "augment": "crop-flip"},
    ),
    "episodes": ("episodes", {"dataset": "glyphs", "ways": 3, "shots": 2, "queries": 3, "steps": 30}),
    "mixed-episodes": (
        "mixed-episodes",
        {"domains": {"glyphs": 0.75, "digits": 0.25}, "ways": 2, "shots": 2, "queries": 3, "steps": 30},
    ),
    "characters": ("character-tasks", {"dataset": "digits", "tasks": 3, "epochs": 2, "batch": 5, "test_share": 0.2}),
    "mixed": (
        "split-classes",
        {"dataset": "digits", "tasks": 2, "classes_per_task": 2, "order": "mixed", "mixed_tasks": 2,
         "mixed_batches": 30},
    ),
    "robots": ("robots", {"steps": 160, "environments": 4, "trials": 6}),
}  # fmt: skip
"""Streams of every kind on embedded data, by a name of the tests' own: kind and configuration."""


def recipe_of(name: str, **changes: Any) -> StreamRecipe:
    """The recipe of one of `CONFIGS`, with ``changes`` laid over it."""
    kind, fields = CONFIGS[name]
    return StreamRecipe(stream={"kind": kind, **fields, **changes}, data="embedded")


def in_process(recipe: StreamRecipe, seed: int) -> Stream:
    """The stream as the engine makes it without a service."""
    section = recipe.section
    return section.row.build(section.config, resolve(section.row.datasets(section.config), recipe.data), seed)


def same(a: Tensor, b: Tensor) -> bool:
    """Equal to the bit, in type, shape and layout."""
    if (a.dtype, a.shape, a.stride()) != (b.dtype, b.shape, b.stride()):
        return False
    return not a.numel() or torch.equal(a.reshape(-1).view(torch.uint8), b.reshape(-1).view(torch.uint8))


class WalkFeed(Feed):
    """What no stream of frisket is: nested items of several tensors whose number and shape change, never ending."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def item(self, position: int) -> Item:
        generator = torch_generator(self.seed, "walk", position)
        steps = 1 + position % 3
        path = [{"at": torch.rand(2, generator=generator), "reward": position / 7} for _ in range(steps)]
        goal = torch.randint(0, 5, (steps,), generator=generator) if position % 2 else None
        return {"path": path, "goal": goal, "name": f"walk {position}"}

    def facts(self) -> dict[str, Any]:
        return {"actions": ["left", "right"]}

    def extra(self, name: str, index: int) -> Item:
        return (
            {"map": torch.full((3, 3), float(index), dtype=torch.float64)}
            if name == "map"
            else super().extra(name, index)
        )


@dataclass(frozen=True)
class WalkRecipe:
    """`WalkFeed`. Attributes: where: a name, for several feeds of one seed."""

    where: str = "here"

    @property
    def key(self) -> str:
        return f"walk {self.where}"

    def open(self, seed: int) -> Feed:
        if self.where == "nowhere":
            raise DataError("where", self.where, "is no place to walk")
        return WalkFeed(seed)


@dataclass(frozen=True)
class GatedRecipe:
    """`WalkFeed`, opened once there is a file ``gate``."""

    gate: str

    @property
    def key(self) -> str:
        return f"behind {self.gate}"

    def open(self, seed: int) -> Feed:
        while not Path(self.gate).exists():
            time.sleep(0.01)
        return WalkFeed(seed)


class LogFeed(Feed):
    """Lines of a file, which users push to its end."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def _lines(self) -> list[str]:
        return self._file.read_text(encoding="utf-8").splitlines()

    def length(self) -> int:
        return len(self._lines())

    def item(self, position: int) -> Item:
        return {"line": self._lines()[position]}


@dataclass(frozen=True)
class LogRecipe:
    """`LogFeed`. Attributes: file: path of the log."""

    file: str

    @property
    def key(self) -> str:
        return self.file

    def open(self, seed: int) -> Feed:
        return LogFeed(Path(self.file))
