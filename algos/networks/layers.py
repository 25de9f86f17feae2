"""Convolution, batch norm and pooling whose second derivatives are as fast as their first.

Values and first derivatives are those of torch's own routines. torch's second derivatives are not routines but
compositions: that of batch norm goes over its tensors some thirty times, and that of a convolution writes the gradient
of the kernel as a convolution with a kernel as large as the picture; that of pooling leaves channels-last order. Here a
second derivative is what it need be: four calls of the convolution routines, and for batch norm two sums and two linear
combinations over its tensors.

No third derivative is offered: ``backward()`` raises, and `torch.autograd.grad` leaves that part out.

The equations are derived here and held against automatic differentiation by tests/algos/test_layers.py. With u, p, q
what is asked for the gradients of x, gain and shift, M samples of a channel, r one over their standard deviation and
h = (x - mean) r, the derivative of batch norm's gradient is

    by g     gain r (u - sum(u) / M - h sum(u h) / M) + p h + q
    by gain  r D,   D = sum(u g) - sum(u) sum(g) / M - sum(u h) sum(g h) / M
    by x     r (c - sum(c) / M - h sum(c h) / M) - gain r^2 D h / M
             with c = (p - gain r sum(u h) / M) g - (gain r sum(g h) / M) u
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

EPSILON = 1e-5
_aten = torch.ops.aten


def convolve(
    x: Tensor, weight: Tensor, bias: Tensor | None, padding: int, products: torch.dtype | None = None
) -> Tensor:
    """Convolution of x [N, C_in, H, W] with weight [C_out, C_in, k, k], stride 1. What is multiplied, here and in both
    derivatives, is rounded to ``products`` before; sums are not. None: to nothing."""
    return _Convolution.apply(x, weight, bias, padding, products)  # pyright: ignore[reportReturnType]


def channels_last(x: Tensor) -> Tensor:
    """x [N, C, H, W] with the channels of a place side by side in memory; under `torch.func.vmap`, too."""
    return x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)


def batch_norm(
    x: Tensor, gain: Tensor, shift: Tensor, mean: Tensor | None = None, variance: Tensor | None = None, rate: float = 0
) -> Tensor:  # fmt: skip
    """x [N, C, H, W] by its own mean and variance; ``mean`` and ``variance`` [C] are moved towards them in place, by
    ``rate``."""
    if x.device.type != "cpu":  # elsewhere torch's second derivative is its own
        return F.batch_norm(x, mean, variance, gain, shift, True, rate, EPSILON)
    return _BatchNorm.apply(x, gain, shift, mean, variance, rate)[0]  # pyright: ignore[reportOptionalSubscript]


def max_pool(x: Tensor) -> Tensor:
    """The largest of every 2 x 2 in x [N, C, H, W]; an odd last row or column is left out."""
    if x.device.type != "cpu":
        return F.max_pool2d(x, 2)
    return _MaxPool.apply(x)[0]  # pyright: ignore[reportOptionalSubscript]


class _Convolution(Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None, padding: int, products: torch.dtype | None) -> Tensor:
        return _convolved(x, weight, bias, padding, products)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.how = inputs[3:]
        ctx.save_for_backward(*inputs[:2])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        wanted = [bool(one) for one in ctx.needs_input_grad[:3]]
        return *_ConvolutionGradients.apply(grads[0], *ctx.saved_tensors, *ctx.how, wanted), None, None  # pyright: ignore


class _ConvolutionGradients(Function):
    """Of x, weight and bias, those that are ``wanted``."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        g: Tensor, x: Tensor, weight: Tensor, padding: int, products: torch.dtype | None, wanted: list[bool]
    ) -> tuple[Tensor | None, ...]:
        by_x, by_weight = _gradients(g, x, weight, padding, products, wanted[:2])
        # the routine's own sum for the bias takes longer, channels-last
        return by_x, by_weight, g.sum((0, 2, 3)) if wanted[2] else None

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        *tensors, padding, products, _ = inputs
        ctx.how = (padding, products)
        ctx.save_for_backward(*tensors)
        ctx.set_materialize_grads(False)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *cotangents: Tensor | None) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (g, x, weight), (u, v, b), (padding, products) = ctx.saved_tensors, cotangents, ctx.how
        by_g = by_x = by_weight = None
        if v is not None:  # the gradient of the weight is linear in g and in x
            by_g = _convolved(x, v, b, padding, products)
            if ctx.needs_input_grad[1]:
                by_x = _gradients(g, x, v, padding, products, [True, False])[0]
        elif b is not None:
            by_g = b[:, None, None].expand_as(g)
        if u is not None:  # that of x in g and in the weight
            along = _convolved(u, weight, None, padding, products)
            by_g = along if by_g is None else by_g + along
            by_weight = _gradients(g, u, weight, padding, products, [False, True])[1]
        return by_g, by_x, by_weight, None, None, None


def _convolved(x: Tensor, weight: Tensor, bias: Tensor | None, padding: int, products: torch.dtype | None) -> Tensor:
    """torch's routine for a convolution, of what is rounded to ``products``."""
    to = products or x.dtype
    return F.conv2d(x.to(to), weight.to(to), None if bias is None else bias.to(to), padding=padding).to(x.dtype)


def _gradients(
    g: Tensor, x: Tensor, weight: Tensor, padding: int, products: torch.dtype | None, wanted: list[bool]
) -> tuple[Tensor | None, Tensor | None]:
    """torch's routine for the gradients of a convolution by x and by weight, of what is rounded to ``products``."""
    rounded = (one.to(products or one.dtype) for one in (g, x, weight))
    place = ([1, 1], [padding, padding], [1, 1], False, [0, 0], 1)
    by_x, by_weight, _ = _aten.convolution_backward(*rounded, None, *place, [*wanted, False])
    return None if by_x is None else by_x.to(x.dtype), None if by_weight is None else by_weight.to(x.dtype)


class _BatchNorm(Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(
        x: Tensor, gain: Tensor, shift: Tensor, mean: Tensor | None, variance: Tensor | None, rate: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        return torch.native_batch_norm(x, gain, shift, mean, variance, True, rate, EPSILON)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
        ctx.mark_non_differentiable(*output[1:])
        ctx.save_for_backward(inputs[0], inputs[1], *output[1:])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return *_BatchNormGradients.apply(grads[0], *ctx.saved_tensors), None, None, None  # pyright: ignore


class _BatchNormGradients(Function):
    """Of x, gain and shift."""

    generate_vmap_rule = True

    @staticmethod
    def forward(g: Tensor, x: Tensor, gain: Tensor, mean: Tensor, r: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return _norm_gradients(g, x, gain, mean, r, [True, True, True])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
        ctx.save_for_backward(*inputs, *output[1:])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, u: Tensor, p: Tensor, q: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        g, x, gain, mean, r, sum_gh, sum_g = ctx.saved_tensors
        count = x.numel() / len(gain)
        _, sum_uh, sum_u = _norm_gradients(u, x, None, mean, r, [False, True, True])
        both = (u * g).sum((0, 2, 3)) - (sum_u * sum_g + sum_uh * sum_gh) / count  # D
        of_h = p - gain * r * sum_uh / count
        by_g = _combined(q - gain * r * sum_u / count - of_h * r * mean, (u, gain * r), (x, of_h * r))
        of_g, of_u = of_h, -gain * r * sum_gh / count
        level = -r * (of_g * sum_g + of_u * sum_u) / count
        slope = -r * (of_g * sum_gh + of_u * sum_uh + gain * r * both) / count
        by_x = _combined(level - slope * r * mean, (g, r * of_g), (u, r * of_u), (x, slope * r))
        return by_g, by_x, r * both, None, None


class _MaxPool(Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> tuple[Tensor, Tensor]:
        return F.max_pool2d(x, 2, return_indices=True)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: tuple[Tensor, Tensor]) -> None:
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(inputs[0], output[1])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return _MaxPoolGradient.apply(grads[0], *ctx.saved_tensors)


class _MaxPoolGradient(Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(g: Tensor, x: Tensor, places: Tensor) -> Tensor:
        return _aten.max_pool2d_with_indices_backward(g, x, [2, 2], [2, 2], [0, 0], [1, 1], False, places)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[2])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, u: Tensor) -> tuple[Tensor, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (places,) = ctx.saved_tensors
        rows, chosen = (t.permute(0, 2, 3, 1).flatten(1, 2) for t in (u, places))  # [N, H W, C]
        height, width = places.shape[2:]
        return rows.gather(1, chosen).unflatten(1, (height, width)).permute(0, 3, 1, 2), None, None


def _norm_gradients(
    g: Tensor, x: Tensor, gain: Tensor | None, mean: Tensor, r: Tensor, wanted: list[bool]
) -> tuple[Tensor, Tensor, Tensor]:
    """torch's routine for the gradients of batch norm, which is ten times slower where g and x lie differently."""
    g = channels_last(g) if x.stride(1) == 1 else g
    return _aten.native_batch_norm_backward(g, x, gain, None, None, mean, r, True, EPSILON, wanted)


def _combined(constant: Tensor, first: tuple[Tensor, Tensor], *others: tuple[Tensor, Tensor]) -> Tensor:
    """``constant + sum of x scale`` over pairs (x [N, C, H, W], scale [C]), one pass each."""
    result = torch.addcmul(constant[:, None, None], first[0], first[1][:, None, None])
    for x, scale in others:
        result.addcmul_(x, scale[:, None, None])
    return result
