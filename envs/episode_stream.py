"""Where few-shot episodes come from: `EpisodeSource`, and a stream of them, `EpisodeStream`."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from frisket.envs.data.divisions import SPLITS as SPLITS
from frisket.envs.stream import Stream
from frisket.types import Batch, Split


class EpisodeSource(ABC):
    """Few-shot episodes by split and number.

    Pictures stay bytes until they are on the device that learns; `numbers` says what a network sees of them.
    """

    @abstractmethod
    def episode(self, split: Split, number: int) -> Batch:
        """Episode ``number`` (from 0) of ``split``; any order, any number of times. The batch says how many of its
        samples are to be adapted on (`frisket.types.Batch.support`)."""

    @abstractmethod
    def numbers(self, x: Tensor) -> Tensor:
        """What a network sees of pictures ``x`` [N, C, H, W], on the device where they are; float32."""


class EpisodeStream(EpisodeSource, Stream):
    """Every position is an episode of the meta-training classes: a task of its own, of one of the stream's domains.

    Of N domains the validation and the test episode ``number`` is of domain ``number`` mod N.

    Attributes:
        shots: support samples of each class.
        queries: query samples of each class.
        factor, shift: of each channel, what takes a byte k to the number ``k factor - shift``.
    """

    shots: int
    queries: int
    factor: tuple[float, ...]
    shift: tuple[float, ...]

    def batch(self, position: int) -> Batch:
        return self.episode("train", position)

    def numbers(self, x: Tensor) -> Tensor:
        factor, shift = (torch.tensor(v, device=x.device)[:, None, None] for v in (self.factor, self.shift))
        return x.float().mul_(factor).sub_(shift)
