"""Every stream by name: its configuration, its data sets, its builder. A new stream is a file here and a row below."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from frisket.envs.data.imageset import ImageSet, Pictures
from frisket.envs.episodes.episodes import EpisodeSource
from frisket.envs.stream import Stream
from frisket.envs.streams import character_tasks, incremental, osaka, picture_stream, pixel_tasks, split_classes


@dataclass(frozen=True, kw_only=True)
class StreamEntry:
    """Attributes:
    config: the configuration dataclass.
    datasets: names of the data sets a configuration needs.
    build: ``(config, data sets by name, seed) -> Stream``.
    summary: one line.
    takes: what its data sets must be: in memory, or any pictures.
    episodes: ``(config, data sets by name, domain=, queries=, seed=) -> EpisodeSource``, for pre-training; None for a
        stream that offers none.
    """

    config: type[Any]
    datasets: Callable[[Any], tuple[str, ...]]
    build: Callable[[Any, Mapping[str, Any], int], Stream]
    summary: str
    takes: type[Pictures] = ImageSet
    episodes: Callable[..., EpisodeSource] | None = None


STREAMS: Mapping[str, StreamEntry] = MappingProxyType(
    {
        "osaka": StreamEntry(
            config=osaka.OsakaConfig,
            datasets=lambda config: tuple(config.domains),
            build=osaka.OsakaStream,
            summary="online stream whose hidden task may change at any step and may come back",
            episodes=osaka.pretraining_episodes,
        ),
        "rotations": StreamEntry(
            config=pixel_tasks.RotationsConfig,
            datasets=lambda config: config.datasets(),
            build=pixel_tasks.PixelTaskStream,
            summary="tasks in sequence, each the same images turned by another angle",
        ),
        "permutations": StreamEntry(
            config=pixel_tasks.PermutationsConfig,
            datasets=lambda config: config.datasets(),
            build=pixel_tasks.PixelTaskStream,
            summary="tasks in sequence, each the same images with their pixels in another order",
        ),
        "split-classes": StreamEntry(
            config=split_classes.SplitClassesConfig,
            datasets=lambda config: config.datasets(),
            build=split_classes.SplitClassesStream,
            summary="tasks in sequence, each with classes of its own, or all of them mixed",
        ),
        "incremental": StreamEntry(
            config=incremental.IncrementalConfig,
            datasets=lambda config: config.datasets(),
            build=incremental.IncrementalStream,
            summary="one's own data in tasks: new classes, told apart from all or within the task, or new domains",
        ),
        "character-tasks": StreamEntry(
            config=character_tasks.CharacterTasksConfig,
            datasets=lambda config: config.datasets(),
            build=character_tasks.CharacterTaskStream,
            summary="tasks in sequence, each the images of one class, for generative models",
        ),
        "pictures": StreamEntry(
            config=picture_stream.PicturesConfig,
            datasets=lambda config: config.datasets(),
            build=picture_stream.PictureStream,
            summary="one task of pictures of any size, read as they are asked for: ImageNet from its folders",
            takes=Pictures,
        ),
    }
)
