"""How many weights a finished task keeps: PackNet's shares, and the search of EfficientPackNet (PACKNET18; PP21,
Algorithm 1; powerprop sheet, sections 6 and 7).

* Shares: of the weights no earlier task owns, the fraction q with the smallest magnitudes stays free, tensor by tensor;
  the others are the task's.
* Search: the fewest weights, chosen among *all* weights by magnitude, whose score P_s passes
  ``P_s >= P - (1 - gamma) abs(P)``, P being that of all weights.

What a score is, the learner says: the model is none of this file's business.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, NamedTuple

from frisket.algos.masks.ranking import Ranking, descending, require_kept
from frisket.errors import require
from frisket.types import Metrics, Params


class Chosen(NamedTuple):
    """Attributes: masks: F_t, boolean by tensor; metrics: what choosing them measured."""

    masks: Params
    metrics: Metrics


class Room(NamedTuple):
    """How many tasks a network has room for, before any is learned.

    Attributes:
        fewest: where every task takes the most that it may.
        most: where every task takes the least, and shares none of it with another; more of them fit where they share.
    """

    fewest: int
    most: int


@dataclass(frozen=True, kw_only=True)
class Shares:
    """Attributes:
    prune: q of the first task, the second, ...; the last for all that follow.
    tasks: T, where it is known; null to take the shares from ``prune``.
    """

    prune: tuple[float, ...] = (0.5, 0.75)
    tasks: int | None = None

    def require_shares(self) -> None:
        """Raise `SpecError` unless every share leaves weights to both sides."""
        require(len(self.prune) > 0, "prune", self.prune, "one share or more")
        for share in self.prune:
            require(0 <= share < 1, "prune", self.prune, "shares of at least 0 and below 1 (1 would keep no weight)")
        require(self.tasks is None or self.tasks >= 1, "tasks", self.tasks, "at least 1, or null")

    def share(self, index: int) -> float:
        """q of task number ``index``, from 0; 0 for a task beyond T, which takes what is left."""
        if self.tasks is not None:
            left = max(self.tasks - index - 1, 0)
            return left / (left + 1)
        return self.prune[min(index, len(self.prune) - 1)]

    def room(self, sizes: Sequence[int]) -> Room:
        """For how many tasks the weights of tensors of these ``sizes`` last: until one would get no weight."""
        free, tasks = list(sizes), 0
        while (left := [round(self.share(tasks) * size) for size in free]) != free:
            free, tasks = left, tasks + 1
        return Room(tasks, tasks)


def largest_free(weights: Params, free: Params, share: float) -> Params:
    """PackNet's masks: all that is not ``free``, and of what is free all but the ``share`` of the smallest."""
    masks = {}
    for name, open_ in free.items():
        candidates = open_.reshape(-1).nonzero()[:, 0]
        order = descending(weights[name].reshape(-1)[candidates])
        mask = ~open_.reshape(-1)
        mask[candidates[order[: len(order) - round(share * len(order))]]] = True
        masks[name] = mask.view_as(open_)
    return masks


@dataclass(frozen=True, kw_only=True)
class Search:
    """Attributes:
    gamma: fraction of the dense score a mask has to keep.
    search: ``grid`` or ``binary``.
    grid: S, increasing kept fractions; the first bounds how sparse a mask may become.
    evaluations: masks a binary search tries.
    scope: what is ranked together (`frisket.algos.masks.ranking`): ``global`` as in the paper, or ``layer``.
    keep_last_tested: keep the last mask tested instead of the last that passed (the listing as printed).
    """

    gamma: float = 0.9
    search: Literal["grid", "binary"] = "grid"
    grid: tuple[float, ...] = (0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2, 0.3, 0.5)
    evaluations: int = 8
    scope: Literal["global", "layer"] = "global"
    keep_last_tested: bool = False

    def require_searchable(self) -> None:
        """Raise `SpecError` unless there is something to try."""
        require(0 <= self.gamma <= 1, "gamma", self.gamma, "in [0, 1]")
        require(len(self.grid) > 0, "grid", self.grid, "one kept fraction or more")
        for fraction in self.grid:
            require_kept(fraction, "grid")
        require(all(a < b for a, b in pairwise(self.grid)), "grid", self.grid, "increasing")
        printed = self.search == "grid" or not self.keep_last_tested
        require(printed, "keep_last_tested", True, f"false with search = {self.search}: the listing tests a grid")
        require(self.evaluations >= 1, "evaluations", self.evaluations, "at least 1")

    def room(self) -> Room:
        """By the largest and the smallest mask that it may come to."""
        halving = self.search == "binary"
        largest, smallest = (1.0, 0.5**self.evaluations) if halving else (self.grid[-1], self.grid[0])
        return Room(math.ceil(1 / largest), math.ceil(1 / smallest))

    def judged(self, masks: Params, score: float, dense: float) -> Judged:
        """``masks`` of that ``score`` beside a ``dense`` one."""
        return Judged(masks, score, acceptable(score, dense, self.gamma))

    def fewest(self, ranking: Ranking, dense: float, score: Callable[[Params], float]) -> Found:
        """The masks to keep, as the search finds them by the ``score`` of masks. Where none passes: of a grid the
        largest, of a binary search all weights."""

        def judge(fraction: float) -> Judged:
            masks = ranking.keep(fraction)
            return self.judged(masks, score(masks), dense)

        halving = self.search == "binary"
        tried = binary_search(self.evaluations, judge) if halving else grid_search(self.grid, judge)
        passed = [one for one in tried if one.passes]
        if self.keep_last_tested:
            kept = tried[-1]
        elif passed:
            kept = passed[-1]
        elif halving and math.isfinite(dense):  # the densest there is
            kept = Judged(ranking.keep(1.0), dense, False)
        else:  # so is this in a grid; and by a dense score that is lost no mask is told from another
            kept = tried[0]
        return Found(kept, len(tried))


class Judged(NamedTuple):
    """Attributes: masks: those tried; score: theirs; passes: whether it is near enough to the dense one."""

    masks: Params
    score: float
    passes: bool


class Found(NamedTuple):
    """Attributes: kept: what a search keeps; tried: how many masks were scored."""

    kept: Judged
    tried: int


def grid_search(grid: Sequence[float], judge: Callable[[float], Judged]) -> list[Judged]:
    """The fractions of the increasing ``grid`` as they are tried: from the largest on, to the first that fails."""
    tried = []
    for fraction in reversed(grid):
        tried.append(judge(fraction))
        if not tried[-1].passes:
            break
    return tried


def binary_search(evaluations: int, judge: Callable[[float], Judged]) -> list[Judged]:
    """The fractions tried in halving [0, 1], scores being taken to grow with the fraction; the last that passes is the
    smallest that did."""
    low, high, tried = 0.0, 1.0, []
    for _ in range(evaluations):
        middle = (low + high) / 2
        tried.append(judge(middle))
        low, high = (low, middle) if tried[-1].passes else (middle, high)
    return tried


def acceptable(sparse: float, dense: float, gamma: float) -> bool:
    """Whether a masked score is near enough to the dense one: ``sparse >= dense - (1 - gamma) abs(dense)``, computed
    so that a score above 0 is held to exactly ``gamma dense``."""
    return sparse >= dense * (gamma if dense >= 0 else 2 - gamma)
