"""OSAKA, the endless stream whose hidden task may change at any step (osaka spec, section 2).

At position t a switch happens if u_t > p (always at t = 0); a switch draws a domain, then `ways` distinct classes of
it in random order. A batch holds `shots` images of each class, drawn with replacement, class-major; label j is
position j.

The chain is Markov in the paper. Here every draw is keyed by (seed, position) instead of a running generator, so the
task at t is that of the last switch at or before t and any batch can be made without the ones before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from frisket.envs.data.imageset import ImageSet
from frisket.envs.episode_stream import EpisodeSource
from frisket.envs.episodes.halved import HalvedEpisodes
from frisket.envs.stream import Stream
from frisket.envs.streams.kind import StreamKind
from frisket.errors import nearest, require
from frisket.rng import numpy_generator
from frisket.types import Batch, Task

_SUM_TOLERANCE = 1e-6
_LONGEST = 10_000_000  # batches; where tasks switch is drawn for all of them at once


@dataclass(frozen=True, kw_only=True)
class OsakaConfig:
    """Attributes:
    domains: probability of each data set at a switch; they sum to 1.
    p: probability to stay in the current task.
    ways: classes in a task.
    shots: images per class in a batch.
    steps: length of the stream in batches (T).
    raw_scale: domains served as 0..255 floats, as the released code does (D11); the others are divided by 255.
    """

    domains: dict[str, float] = field(default_factory=lambda: {"omniglot": 0.5, "mnist": 0.25, "fashion_mnist": 0.25})
    p: float = 0.98
    ways: int = 10
    shots: int = 5
    steps: int = 10_000
    raw_scale: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        require(bool(self.domains), "domains", self.domains, "at least one domain with its probability")
        for name, share in self.domains.items():
            require(0 <= share <= 1, f"domains.{name}", share, "a probability in [0, 1]")
        total = sum(self.domains.values())
        require(
            abs(total - 1) <= _SUM_TOLERANCE, "domains", self.domains, f"probabilities that sum to 1, not {total:g}"
        )
        require(0 <= self.p <= 1, "p", self.p, "a probability in [0, 1]")
        require(self.ways >= 2, "ways", self.ways, "at least 2")
        require(self.shots >= 1, "shots", self.shots, "at least 1")
        require(1 <= self.steps <= _LONGEST, "steps", self.steps, f"1 to {_LONGEST:,}")
        for name in self.raw_scale:
            require(name in self.domains, "raw_scale", name, f"one of the domains ({nearest(name, self.domains)})")

    def in_words(self) -> str:
        """What the stream is, for its card."""
        return (
            f"a hidden task of {self.ways} classes, {self.shots} images of each a batch, that stays with probability "
            f"{self.p:g} from one batch to the next; {self.steps:,} batches"
        )


class OsakaStream(Stream):
    """OSAKA over image sets.

    Args:
        config: the stream's numbers.
        data: image set of every domain in ``config.domains``, or its stand-in.
        seed: the run's seed.
    """

    labelled = False  # which task a batch is from is what a learner has to find out

    def __init__(self, config: OsakaConfig, data: Mapping[str, ImageSet], seed: int) -> None:
        self.config, self.seed = config, seed
        self.steps, self.ways = config.steps, config.ways
        # A stand-in serves under its own name, so that no result can claim data it did not see.
        self._sets = {data[name].name: data[name] for name in config.domains}
        require(len(self._sets) == len(config.domains), "domains", config.domains, "different data sets")
        self.domains = tuple(self._sets)
        self._raw = {data[name].name for name in config.raw_scale}
        shapes = {name: tuple(images.images.shape[1:]) for name, images in self._sets.items()}
        self.shape = shapes[self.domains[0]]
        for name, images in self._sets.items():
            require(shapes[name] == self.shape, f"domains.{name}", shapes[name], f"images of shape {self.shape}")
            require(self.ways <= len(images.classes), "ways", self.ways, f"at most {len(images.classes)} ({name})")
        self._samples = {name: _equal_classes(images) for name, images in self._sets.items()}
        self._shares = np.cumsum(list(config.domains.values()))
        draws = numpy_generator(seed, "switch").random(config.steps)
        switches = np.where(draws > config.p, np.arange(config.steps), 0)
        self._starts = np.maximum.accumulate(switches)
        self._task: Task | None = None

    def task(self, position: int) -> Task:
        """The hidden task at ``position``."""
        start = int(self._starts[position])
        if self._task is None or self._task.start != start:  # the last task is kept: positions mostly come in order
            self._task = self._draw_task(start)
        return self._task

    def _draw_task(self, start: int) -> Task:
        generator = numpy_generator(self.seed, "task", start)
        share = generator.random() * self._shares[-1]
        domain = self.domains[int(np.searchsorted(self._shares, share, side="right"))]
        classes = generator.permutation(len(self._sets[domain].classes))[: self.ways]
        return Task(domain, tuple(int(c) for c in classes), start)

    def samples(self, position: int) -> np.ndarray:
        """Indices into the domain's images of the batch at ``position``, ``[ways * shots]``, class-major."""
        task = self.task(position)
        pool = self._samples[task.domain]
        draws = numpy_generator(self.seed, "sample", position).integers(
            pool.shape[1], size=(self.ways, self.config.shots)
        )
        return np.take_along_axis(pool[list(task.classes)], draws, axis=1).reshape(-1)

    def batch(self, position: int) -> Batch:
        task = self.task(position)
        x = torch.from_numpy(self._sets[task.domain].images[self.samples(position)]).float()
        if task.domain not in self._raw:
            x = x / self._sets[task.domain].unit
        y = torch.arange(self.ways).repeat_interleave(self.config.shots)
        return Batch(x, y, position, task)

    def provenance(self) -> dict[str, Any]:
        return {name: images.provenance.as_dict() for name, images in self._sets.items()}


def pretraining_episodes(
    config: OsakaConfig, data: Mapping[str, ImageSet], *, domain: str | None, queries: int, seed: int
) -> EpisodeSource:
    """Few-shot episodes of the stream's ways and shots from one of its domains (the first by default)."""
    domain = next(iter(config.domains)) if domain is None else domain
    require(
        domain in config.domains,
        "pretrain.domain",
        domain,
        f"a domain of the stream; {nearest(domain, config.domains)}",
    )
    return HalvedEpisodes(data[domain], ways=config.ways, shots=config.shots, queries=queries, seed=seed)


def _equal_classes(images: ImageSet) -> np.ndarray:
    """``[classes, n]`` indices, every class cut to the smallest one's n in file order (MNIST: 5,421)."""
    per_class = images.class_indices()
    smallest = min(len(indices) for indices in per_class)
    return np.stack([indices[:smallest] for indices in per_class])


STREAMS = (
    StreamKind(
        name="osaka",
        config=OsakaConfig,
        datasets=lambda config: tuple(config.domains),
        build=OsakaStream,
        summary="online stream whose hidden task may change at any step and may come back",
        episodes=pretraining_episodes,
        quick={"p": 0.8, "ways": 3, "shots": 2, "steps": 40},
    ),
)
