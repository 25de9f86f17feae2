"""A stream of few-shot episodes: `EpisodeStream`."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from frisket.envs.data.divisions import SPLITS as SPLITS
from frisket.envs.stream import Stream
from frisket.types import Batch, Split


class EpisodeStream(Stream):
    """Every position is an episode of the meta-training classes: a task of its own, whose batch says how many of its
    samples are to be adapted on (`frisket.types.Batch.support`).

    Pictures stay bytes until they are on the device that learns; `numbers` says what a network sees of them.

    Attributes:
        shots: support samples of each class.
        queries: query samples of each class.
        factor, shift: of each channel, what takes a byte k to the number ``k factor - shift``.
    """

    shots: int
    queries: int
    factor: tuple[float, ...]
    shift: tuple[float, ...]

    @abstractmethod
    def episode(self, split: Split, number: int) -> Batch:
        """Episode ``number`` (from 0) of ``split``; any order, any number of times. Those of ``train`` are the
        stream's own batches."""

    def batch(self, position: int) -> Batch:
        return self.episode("train", position)

    def numbers(self, x: Tensor) -> Tensor:
        """What a network sees of pictures ``x`` [N, C, H, W] of this stream, on the device where they are; float32."""
        factor, shift = (torch.tensor(v, device=x.device)[:, None, None] for v in (self.factor, self.shift))
        return x.float().mul_(factor).sub_(shift)
