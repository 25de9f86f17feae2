"""Batch norm, the largest of every 2 x 2 and ReLU as one: what follows a convolution in Conv4.

With x [N, C, H, W], mean and r of a channel (one over the standard deviation, of the batch), h = (x - mean) r::

    y = ReLU(max over a 2 x 2 of (gain h + shift))

One by one, each of the three goes over all numbers forward and back, and batch norm several times. Here a pass finds
mean and r, and another all the rest; on the way back two sums go over a quarter of the numbers, and the gradient is
written once; so it is with the second derivative, whose equations are those of `frisket.algos.networks.layers` with g
at the places that were the largest and 0 elsewhere. Sums are taken in double from picture to picture, where torch's are
float throughout.

The loops are C++ (normed_pool.cpp), for numbers of float32 that lie channels-last on a CPU, in few threads. All else,
and a machine without a compiler, takes the operations one by one. Where a variance is larger than a number can be, y is
NaN; torch's routine divides by it, which is 0, and hides that all was lost.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from frisket.algos.native import address, library
from frisket.algos.networks.layers import EPSILON, batch_norm, channels_last, max_pool

_SOURCE = Path(__file__).with_suffix(".cpp")
_FEW = 4
"""Threads from which on torch's operations, which share them out, are taken to be as fast: a loop takes a quarter to a
half of their time. Not measured, for want of cores."""


def normed_pool(
    x: Tensor, gain: Tensor, shift: Tensor, mean: Tensor | None = None, variance: Tensor | None = None, rate: float = 0
) -> Tensor:  # fmt: skip
    """y [N, C, H / 2, W / 2] of x [N, C, H, W] by its own mean and variance; ``mean`` and ``variance`` [C] are moved
    towards them in place, by ``rate``, as `frisket.algos.networks.layers.batch_norm` moves them. An odd last row or
    column counts for the statistics alone."""
    if not _suits(x, gain, shift):
        return F.relu(max_pool(batch_norm(x, gain, shift, mean, variance, rate)))
    y, _, _, own_mean, _, own_variance = _NormedPool.apply(x, gain, shift)  # pyright: ignore[reportGeneralTypeIssues]
    if mean is not None and variance is not None:
        count = x.numel() / x.shape[1]
        mean.lerp_(own_mean, rate)
        variance.lerp_(own_variance * (count / (count - 1)), rate)
    return y


def _suits(x: Tensor, gain: Tensor, shift: Tensor) -> bool:
    """Whether the loops are for these: they look at addresses, so what does not fit is left to torch's own checks."""
    wrapped = torch._C._functorch.is_functorch_wrapped_tensor  # pyright: ignore[reportAttributeAccessIssue]
    return (
        all(one.device.type == "cpu" and one.dtype == torch.float32 and not wrapped(one) for one in (x, gain, shift))
        and x.dim() == 4
        and gain.shape == shift.shape == x.shape[1:2]
        and x.numel() > 0
        and min(x.shape[2:]) > 1
        and x.permute(0, 2, 3, 1).is_contiguous()
        and torch.get_num_threads() < _FEW
        and library(_SOURCE) is not None
    )


class _NormedPool(Function):
    """y, and what is known besides: h at the largest of every 2 x 2, which of the four it is (uint8; 4: none, y is 0),
    and of every channel the mean, r and the variance."""

    @staticmethod
    def forward(x: Tensor, gain: Tensor, shift: Tensor) -> tuple[Tensor, ...]:
        (n, c, h, w), (mean, r, variance) = x.shape, x.new_empty(3, x.shape[1])
        _call("statistics", x, EPSILON, mean, r, variance)
        y = torch.empty((n, c, h // 2, w // 2), memory_format=torch.channels_last)
        chosen, place = torch.empty_like(y), torch.empty_like(y, dtype=torch.uint8)
        _call("forward", x, gain, shift, mean, r, y, chosen, place)
        return y, chosen, place, mean, r, variance

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
        _, chosen, place, mean, r, _ = output
        ctx.mark_non_differentiable(*output[1:])
        ctx.save_for_backward(*inputs[:2], mean, r, chosen, place)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return _NormedPoolGradients.apply(channels_last(grads[0]), *ctx.saved_tensors)


class _NormedPoolGradients(Function):
    """Of x, gain and shift."""

    @staticmethod
    def forward(
        g: Tensor, x: Tensor, gain: Tensor, mean: Tensor, r: Tensor, chosen: Tensor, place: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        by_x, (by_gain, by_shift) = torch.empty_like(x), x.new_empty(2, x.shape[1])
        _call("backward", x, g, gain, mean, r, chosen, place, by_x, by_gain, by_shift)
        return by_x, by_gain, by_shift

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
        ctx.save_for_backward(*inputs, *output[1:])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, u: Tensor, p: Tensor, q: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        g, x, gain, *known = ctx.saved_tensors
        by_g, by_x, by_gain = torch.empty_like(g), torch.empty_like(x), torch.empty_like(gain)
        _call("second", x, channels_last(u), p, q, g, gain, *known, by_g, by_x, by_gain)
        return by_g, by_x, by_gain, None, None, None, None


def _call(name: str, x: Tensor, *others: Tensor | float) -> None:
    """A function of the library: x with its shape, then ``others``, all as dense as they are made here."""
    n, c, h, w = x.shape
    given: list[Any] = [address(x), *(ctypes.c_int64(size) for size in (n, h, w, c))]
    dense = [one.contiguous() if isinstance(one, Tensor) and one.dim() == 1 else one for one in others]
    given += [address(one) if isinstance(one, Tensor) else ctypes.c_double(one) for one in dense]
    functions = library(_SOURCE)
    assert functions is not None
    getattr(functions, name)(*given)
