"""N-way k-shot episodes of one data set (MAML17; maml_family spec, section 6, "Task").

How one is drawn: `frisket.envs.episodes.drawing`. With ``rotations`` there are four classes for each of the data set's,
its pictures turned by 0, 90, 180 and 270 degrees, all in the split of that one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from frisket.envs.data.imageset import Pictures
from frisket.envs.data.reading import in_memory
from frisket.envs.episode_stream import EpisodeStream
from frisket.envs.episodes.drawing import Drawing
from frisket.envs.episodes.fields import EpisodeFields
from frisket.envs.streams.kind import StreamKind
from frisket.envs.streams.scaling import Normalise, Scale
from frisket.errors import require
from frisket.rng import derive
from frisket.types import Batch, Split

_MOST_CHANNELS = 1024


@dataclass(frozen=True, kw_only=True)
class EpisodesConfig(EpisodeFields):
    """Attributes:
    dataset: data set the classes are of.
    rotations: whether the pictures of a class turned by 90, 180 and 270 degrees are three classes more.
    normalise: what pictures in [0, 1] are normalised by: ``published``, the data set's own constants where it has any,
        ``none``, or ``imagenet``, ImageNet's whatever the data set.
    channels: what pictures are shown in: grey ones become so many equal ones, for a network of coloured ones. None:
        what they have.
    """

    dataset: str = "omniglot"
    rotations: bool = False
    normalise: Normalise = "published"
    channels: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        ok = self.channels is None or 1 <= self.channels <= _MOST_CHANNELS
        require(ok, "channels", self.channels, f"from 1 to {_MOST_CHANNELS}, or null")
        self.require_known("normalise", get_args(Normalise))

    def datasets(self) -> tuple[str, ...]:
        """Name of the image set."""
        return (self.dataset,)


class Episodes(EpisodeStream):
    """Episodes over one image set.

    Args:
        config: the stream's numbers.
        data: the pictures by the name ``config.dataset``, or their stand-in.
        seed: the run's seed.

    Raises:
        SpecError: a split has fewer classes than ``ways``, or a class fewer pictures than ``shots + queries``; pictures
            that ImageNet's constants do not fit.
        DataError: as `frisket.envs.data.reading.in_memory` and `frisket.envs.episodes.class_splits.class_split`.
    """

    def __init__(self, config: EpisodesConfig, data: Mapping[str, Pictures], seed: int) -> None:
        self.config, self.seed = config, seed
        self.steps, self.ways, self.shots, self.queries = config.steps, config.ways, config.shots, config.queries
        images = in_memory(data[config.dataset], config.reading(config.size))
        self.domains = (images.name,)
        fix = f"{images.channels} or null: {images.name} has {images.channels}, and only grey pictures become others"
        require(images.channels == 1 or config.channels in (None, images.channels), "channels", config.channels, fix)
        self.factor, self.shift = Scale(images, config.normalise, config.channels).numbers()
        self._drawing = Drawing(config, images, seed, rotations=config.rotations, channels=config.channels)
        self.shape = self._drawing.shape

    def episode(self, split: Split, number: int) -> Batch:
        return self._drawing.episode(split, number, number)

    def provenance(self) -> dict[str, Any]:
        return {name: self._drawing.provenance() for name in self.domains}


def pretraining_episodes(
    config: EpisodesConfig, data: Mapping[str, Pictures], *, domain: str | None, queries: int, seed: int
) -> Episodes:
    """Episodes of the same classes, others than the stream's own."""
    require(domain in (None, config.dataset), "pretrain.domain", domain, f"left out, or {config.dataset}")
    return Episodes(dataclasses.replace(config, queries=queries), data, derive(seed, "pretrain"))


STREAMS = (
    StreamKind(
        name="episodes",
        config=EpisodesConfig,
        build=Episodes,
        episodes=pretraining_episodes,
        summary="N-way k-shot episodes, each of classes of its own",
        takes=Pictures,
        quick={"ways": 2, "shots": 2, "queries": 3, "steps": 40},
    ),
)
