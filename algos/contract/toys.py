"""Small inputs that methods are tried on: noise, in tasks of three batches, two classes a glance tells apart, and a
line to act on."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from frisket.rng import torch_generator
from frisket.types import Batch, Data, Stepped, Task, TaskEnd

SIZE, WAYS, SHOTS = 16, 2, 4
SHAPE = (1, SIZE, SIZE)
"""``(C, H, W)`` of an input, H = W."""
DOMAINS = ("noise", "stripes")
"""What the tasks are of."""


def noise_batch(
    position: int, *, ways: int = WAYS, dtype: torch.dtype = torch.float32, shape: tuple[int, int, int] = SHAPE
) -> Batch:
    """Images of pure noise, 3 of each class; a new task every third position."""
    start = position - position % 3
    end = None
    if position == start + 2:
        again = functools.partial(noise_batch, ways=ways, dtype=dtype, shape=shape)
        end = TaskEnd(
            3, lambda i: again(start + i), lambda: noise_data(-1 - start, ways=ways, dtype=dtype, shape=shape)
        )
    y = torch.arange(ways).repeat_interleave(3)
    x = torch.rand(len(y), *shape, generator=torch_generator(0, "noise", position), dtype=dtype)
    return Batch(x, y, position, noise_task(start, ways), end=end)


def noise_task(start: int, ways: int = WAYS) -> Task:
    """The task of `noise_batch` that began at ``start``."""
    return Task("noise", tuple(range(ways)), start)


def noise_data(
    key: int, *, ways: int = WAYS, dtype: torch.dtype = torch.float64, shape: tuple[int, int, int] = SHAPE
) -> Data:
    """`noise_batch` as the inner loop takes it."""
    batch = noise_batch(key, ways=ways, dtype=dtype, shape=shape)
    return Data(batch.x, batch.y)


def stripes(generator: torch.Generator, classes: Tensor, shape: tuple[int, int, int] = SHAPE) -> Tensor:
    """One image per class index: upright stripes (0) or lying ones (1), with noise and a random phase."""
    channels, size, _ = shape
    wave = torch.sin(torch.arange(size) * 1.2 + 6.3 * torch.rand(len(classes), 1, generator=generator))
    upright = wave[:, None, :].expand(-1, size, -1)
    x = torch.where(classes[:, None, None] == 0, upright, upright.transpose(1, 2))
    return (x + 0.3 * torch.randn(x.shape, generator=generator))[:, None].expand(-1, channels, -1, -1).contiguous()


def separable_batch(position: int, shape: tuple[int, int, int] = SHAPE) -> Batch:
    """Two classes a glance tells apart, the same task for ever."""
    y = torch.arange(WAYS).repeat_interleave(SHOTS)
    x = stripes(torch_generator(0, "stripes", position), y, shape)
    return Batch(x, y, position, Task("stripes", tuple(range(WAYS)), 0))


def separable_episode(split: str, number: int, shape: tuple[int, int, int] = SHAPE) -> Batch:
    """As `separable_batch`, with the two labels swapped in every other episode; half of it is to be adapted on."""
    generator = torch_generator(0, "episode", split, number)
    y = torch.arange(WAYS).repeat_interleave(SHOTS)
    classes = (y + number) % WAYS
    x = torch.cat([stripes(generator, classes, shape) for _ in range(2)])
    return Batch(x, torch.cat([y, y]), number, support=len(y))


class Line:
    """Six points on a line, which are to go to its middle in four steps; an observation is the place, C times.

    Args:
        number: which episodes.
        shape: ``(C, 1, 1)`` of an observation.
        dtype: of observations and rewards.
    """

    environments, actions, horizon = 6, 1, 4

    def __init__(self, number: int, shape: tuple[int, int, int], dtype: torch.dtype = torch.float32) -> None:
        start = 2 * torch.rand(self.environments, generator=torch_generator(0, "line", number)) - 1
        self._start = start.to(dtype)
        self._shape, self._places = shape, self._start

    def reset(self) -> Tensor:
        self._places = self._start
        return self._seen()

    def step(self, actions: Tensor) -> Stepped:
        self._places = (self._places + 0.3 * actions[:, 0]).clamp(-1, 1)
        away, every = self._places.abs(), torch.ones(self.environments, dtype=torch.bool)
        return Stepped(self._seen(), -away, ~every, away < 0.2, every)

    def _seen(self) -> Tensor:
        return self._places[:, None, None, None].expand(-1, *self._shape).contiguous()


def line_batch(
    position: int, shape: tuple[int, int, int], *, of: int = 0, dtype: torch.dtype = torch.float32
) -> Batch:  # fmt: skip
    """A `Line` to act on, one for each learner ``of`` several; a new task every third position, with two lines for who
    judges itself."""
    start = position - position % 3
    end = None
    if position == start + 2:
        trials = [Line(-2 * start - i, shape, dtype) for i in (1, 2)]
        x = torch.cat([world.reset() for world in trials])
        again = functools.partial(line_batch, shape=shape, of=of, dtype=dtype)
        kept = x, torch.zeros(len(x), dtype=torch.int64)
        end = TaskEnd(3, lambda i: again(start + i), lambda: kept, lambda: trials)
    world = Line(position + 1000 * of, shape, dtype)
    y = torch.zeros(world.environments, dtype=torch.int64)
    return Batch(world.reset(), y, position, noise_task(start), end=end, world=world)
