"""Whether domains are adapted to differently: what a learner decided for tasks of each, side by side (gems spec,
section 8, fact 11).

A decision is how much of one layer adapts at one inner step, or how fast what adapts does at one. Of n test tasks of
each domain d = 1 .. D it has the values x_di. It differs between domains where two things hold:

* chance: eta^2 = n sum_d (mean_d - mean)^2 / sum_di (x_di - mean)^2, the share of its variance that lies between
  domains, is more than tasks have that are dealt out to the domains at random. It is compared with the largest eta^2 of
  any decision in each of `PERMUTATIONS` deals, so that p is the chance that of all decisions together even one would
  look so different; p is at most `LEVEL`. The eta^2 of what is the same for all tasks is 0.
* size: the means of two domains lie at least `LEAST_APART` from each other, in shares of the layer, or of the mean
  rate. A rate varies smoothly with what decides it: by chance alone it would differ long before that matters.

Where no decision differs the masks have collapsed: all domains are adapted to alike. Of so few tasks that the rarest
deal is no rarer than `LEVEL`, nothing is said. [our default]

The overlap of two domains' masks is that of p, the share of tasks in which a weight adapted at any step::

    overlap(d, e) = sum_i min(p_di, p_ei) / sum_i max(p_di, p_ei)          the Jaccard overlap, where p is 0 or 1

with p of the even tasks of one domain and of the odd tasks of the other; the mean of both ways is taken. So a domain
overlaps with itself as its halves do, which says what chance leaves of 1. A domain's mask has open what adapted in more
than half of its tasks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from frisket.algos.learner import Deciding
from frisket.algos.parts.finite import finite
from frisket.envs.episode_stream import EpisodeStream
from frisket.platform.protocols.judged_episodes import episodes, support_and_queries
from frisket.rng import torch_generator
from frisket.types import Metrics, Params, State

PERMUTATIONS = 999
LEVEL = 0.01
LEAST_APART = 0.01
_ROUNDED = 1e-9
"""Of a number, what rounding may have made of it."""
_RECORDED = "decisions"
COUNT, DIFFERING, APART, CHANCE = (f"decisions/{name}" for name in ("count", "differing", "apart", "chance"))
LAYERS, OVERLAP, WITHIN = "decisions/differing/layers", "decisions/overlap", "decisions/overlap/within"
METRICS = (COUNT, DIFFERING, LAYERS, APART, CHANCE, OVERLAP, WITHIN)
"""Names of what `Decisions.metrics` can have."""


@dataclass(frozen=True, kw_only=True)
class Decisions:
    """What was decided for tasks of D domains in L layers, at T inner steps, or T = 1 where it was decided once.

    Attributes:
        domains, layers: their names.
        tasks: n, of each domain.
        open, open_spread: [D, T, L], mean and population standard deviation over tasks of the share of the layer that
            adapts.
        rate, rate_spread: [D, T], the same of the step size; [D, 0] where it is given.
        chance: [T, L + R], p of every decision, the R = 1 or 0 rates last; NaN where too few tasks tell.
        overlap: [D, D], of the domains' masks; NaN of one task.
    """

    domains: tuple[str, ...]
    layers: tuple[str, ...]
    tasks: int
    open: np.ndarray
    open_spread: np.ndarray
    rate: np.ndarray
    rate_spread: np.ndarray
    chance: np.ndarray
    overlap: np.ndarray

    @property
    def apart(self) -> np.ndarray:
        """[T, L + R], how far from each other the means of those two domains are that are furthest apart."""
        shares = np.ptp(self.open, axis=0)
        if not self.rate.size:
            return shares
        mean = self.rate.mean(0)
        rates = np.divide(np.ptp(self.rate, axis=0), mean, out=np.zeros_like(mean), where=mean != 0)
        return np.concatenate([shares, rates[:, None]], axis=1)

    @property
    def differing(self) -> np.ndarray:
        """[T, L + R], which decisions differ between domains."""
        return (self.chance <= LEVEL) & (self.apart >= LEAST_APART)

    def metrics(self) -> Metrics:
        """Of several domains: the mean overlap of two, and of one with itself; and, where enough tasks tell, how many
        decisions there are, how many differ, how many of these are no rates, how far the means of one lie apart at
        most, and the least p."""
        if len(self.domains) == 1:
            return {}
        others = ~np.eye(len(self.domains), dtype=bool)
        found = {OVERLAP: self.overlap[others].mean(), WITHIN: self.overlap.diagonal().mean()}
        if not np.isnan(self.chance).any():
            found |= {COUNT: self.chance.size, DIFFERING: self.differing.sum()}
            found[LAYERS] = self.differing[:, : len(self.layers)].sum()
            found |= {APART: self.apart.max(), CHANCE: self.chance.min()}
        return {name: float(value) for name, value in found.items() if not np.isnan(value)}

    def as_dict(self) -> dict[str, Any]:
        """JSON-able; what is not known is null."""
        arrays = {k: _known(v.tolist()) for k, v in vars(self).items() if isinstance(v, np.ndarray)}
        return {"domains": list(self.domains), "layers": list(self.layers), "tasks": self.tasks, **arrays}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Decisions:
        """The inverse of `as_dict`."""
        names = ("domains", "layers", "tasks")
        arrays = {name: np.array(value, float) for name, value in raw.items() if name not in names}
        return cls(domains=tuple(raw["domains"]), layers=tuple(raw["layers"]), tasks=raw["tasks"], **arrays)


def _known(value: Any) -> Any:
    """Nested lists of numbers, with None for NaN."""
    if isinstance(value, list):
        return [_known(one) for one in value]
    return None if math.isnan(value) else value


def recorded(found: Decisions) -> dict[str, Any]:
    """``found`` as the record of the last position has it."""
    return {_RECORDED: found.as_dict()}


def read_decisions(step: Mapping[str, Any]) -> Decisions | None:
    """The decisions in the record of the last position; None where it has none."""
    return Decisions.from_dict(step[_RECORDED]) if _RECORDED in step else None


class Gathered(NamedTuple):
    """Attributes: decisions; masks: of every domain, boolean, [D, ...] each."""

    decisions: Decisions
    masks: Params


def gather(learner: Deciding, state: State, stream: EpisodeStream, count: int) -> Gathered | None:
    """What ``learner``, whose ``state`` is on the device where it answers, decides for the first ``count`` test tasks
    of every domain of ``stream``; None where it decides nothing, or no finite numbers."""
    domains, layers = len(stream.domains), tuple[str, ...]()
    open_, rates = dict[int, Tensor](), dict[int, Tensor]()
    adapted: list[list[Params]] = [[{}, {}] for _ in stream.domains]  # in how many even and odd tasks
    for place, whole in episodes(stream, "test", count):
        support, _ = support_and_queries(learner, stream, whole, state["step"].device)
        one = learner.decided(state, support)
        if one is None:
            return None
        layers, open_[place] = one.layers, one.open
        rates[place] = torch.zeros(0, dtype=torch.float64) if one.rate is None else one.rate
        number, domain = divmod(place, domains)
        had = adapted[domain][number % 2]
        adapted[domain][number % 2] = {k: had.get(k, 0) + v.int() for k, v in one.masks.items()}
    shares, rate = (torch.stack([by_place[i] for i in range(count * domains)]) for by_place in (open_, rates))
    if not finite(shares, rate):
        return None
    each = torch.cat([shares, rate[..., None]], 2) if rate.shape[1] else shares
    chance = chances(each.flatten(1), domains, int(state["seed"])).view(each.shape[1:])
    by_domain = [one.unflatten(0, (count, domains)) for one in (shares, rate)]
    (opened, open_spread), (mean, spread) = map(_mean_and_spread, by_domain)
    found = Decisions(
        domains=tuple(stream.domains), layers=layers, tasks=count,
        open=opened.numpy(), open_spread=open_spread.numpy(), rate=mean.numpy(), rate_spread=spread.numpy(),
        chance=chance.numpy(), overlap=overlaps(adapted, count),
    )  # fmt: skip
    masks = {k: torch.stack([(even[k] + odd.get(k, 0)) > count / 2 for even, odd in adapted]) for k in adapted[0][0]}
    return Gathered(found, masks)


def chances(values: Tensor, domains: int, seed: int) -> Tensor:
    """p of every decision, [C], float64.

    Args:
        values: [n domains, C], the domains' tasks in turn.
        domains: D.
        seed: what the deals are drawn from.
    """
    n = len(values) // domains
    deals = math.lgamma(len(values) + 1) - domains * math.lgamma(n + 1) - math.lgamma(domains + 1)  # logarithm
    if domains == 1 or deals < -math.log(LEVEL):
        return torch.full(values.shape[1:], math.nan, dtype=torch.float64)
    centred = values - values.mean(0)
    varies = values.amax(0) - values.amin(0) > _ROUNDED * values.abs().amax(0)
    total = torch.where(varies, centred.square().sum(0), torch.inf)

    def between(order: Tensor) -> Tensor:
        return n * centred[order].unflatten(0, (n, domains)).mean(0).square().sum(0) / total

    generator = torch_generator(seed, "decisions")
    dealt = (between(torch.randperm(len(values), generator=generator)).max() for _ in range(PERMUTATIONS))
    largest, found = torch.stack(list(dealt)), between(torch.arange(len(values)))
    return (1 + (largest[:, None] >= found - _ROUNDED).sum(0)).double() / (1 + PERMUTATIONS)


def _mean_and_spread(values: Tensor) -> tuple[Tensor, Tensor]:
    """Over the first dimension of ``values``."""
    mean = values.mean(0)
    return mean, (values - mean).square().mean(0).sqrt()


def overlaps(adapted: Sequence[Sequence[Params]], count: int) -> np.ndarray:
    """[D, D], of the masks of domains.

    Args:
        adapted: of each domain in how many of its even and of its odd tasks every weight adapted.
        count: n.
    """
    if count == 1:
        return np.full((len(adapted), len(adapted)), np.nan)
    sizes = (count - count // 2, count // 2)
    shares = [[{k: v / size for k, v in of.items()} for of, size in zip(one, sizes, strict=True)] for one in adapted]
    ways = np.array([[_overlap(even, odd) for _, odd in shares] for even, _ in shares])
    return (ways + ways.T) / 2


def _overlap(these: Params, those: Params) -> float:
    both, either = (
        sum(float(of(v, those[k]).sum(dtype=torch.float64)) for k, v in these.items())
        for of in (torch.minimum, torch.maximum)
    )
    return both / either if either else 1.0
