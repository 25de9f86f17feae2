"""What a module declares of a stream: `StreamKind`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from frisket.envs.data.imageset import ImageSet, Pictures
from frisket.envs.episode_stream import EpisodeSource
from frisket.envs.stream import Stream


def named_datasets(config: Any) -> tuple[str, ...]:
    """The data sets a configuration says it needs."""
    return config.datasets()


@dataclass(frozen=True, kw_only=True)
class StreamKind:
    """A row of ``STREAMS``.

    Attributes:
        name: what specifications call it.
        config: the configuration dataclass.
        build: ``(config, data sets by name, seed) -> Stream``.
        summary: one line.
        datasets: names of the data sets a configuration needs; by default what its own ``datasets()`` says.
        takes: what its data sets must be: in memory, or any pictures.
        episodes: ``(config, data sets by name, domain=, queries=, seed=) -> EpisodeSource``, for pre-training; None for
            a stream that offers none.
        own_tests: whether, of a configuration, every seed is judged on test sets of its own; else a pack is judged on
            those of one.
        quick: fields under which it is short and 12 classes of 30 samples are enough; the contract
            (`frisket.envs.contract`) tries it with these.
    """

    name: str
    config: type[Any]
    build: Callable[[Any, Mapping[str, Any], int], Stream]
    summary: str
    datasets: Callable[[Any], tuple[str, ...]] = named_datasets
    takes: type[Pictures] = ImageSet
    episodes: Callable[..., EpisodeSource] | None = None
    own_tests: Callable[[Any], bool] = lambda config: False
    quick: Mapping[str, Any] = field(default_factory=dict)

    def in_words(self, config: Any) -> str:
        """What a stream of ``config`` is: what the configuration says of itself (``in_words``), else the summary."""
        told: Callable[[], str] | None = getattr(config, "in_words", None)
        return self.summary if told is None else told()
