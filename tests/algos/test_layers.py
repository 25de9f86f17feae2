"""Convolution, batch norm and pooling against torch's own: values, first and second derivatives, in float64."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from frisket.algos.networks.conv4 import Conv4, Conv4Config
from frisket.algos.networks.fisher import squared_gradients
from frisket.algos.networks.layers import EPSILON, batch_norm, convolve, max_pool
from frisket.rng import torch_generator

ORDERS = {"contiguous": torch.contiguous_format, "channels-last": torch.channels_last}
LAYERS: dict[str, tuple[Callable[..., Tensor], Callable[..., Tensor], tuple[tuple[int, ...], ...]]] = {
    "convolution": (
        lambda x, w, b: convolve(x, w, b, 1),
        lambda x, w, b: F.conv2d(x, w, b, padding=1),
        ((4, 3, 5, 7), (2, 3, 3, 3), (2,)),
    ),
    "convolution without bias": (
        lambda x, w: convolve(x, w, None, 0),
        lambda x, w: F.conv2d(x, w),
        ((2, 3, 5, 5), (4, 3, 3, 3)),
    ),
    "batch norm": (
        batch_norm,
        lambda x, gain, shift: F.batch_norm(x, None, None, gain, shift, training=True, eps=EPSILON),
        ((4, 3, 5, 5), (3,), (3,)),
    ),
    "pooling": (max_pool, lambda x: F.max_pool2d(x, 2), ((3, 2, 7, 4),)),
}


@pytest.mark.parametrize("order", list(ORDERS))
@pytest.mark.parametrize("layer", list(LAYERS))
def test_a_layer_is_torchs_up_to_its_second_derivative(layer: str, order: str) -> None:
    """Random cotangents: the gradient, and the gradient of a function of it, by every input and by the cotangent."""
    ours, theirs, shapes = LAYERS[layer]
    generator = torch_generator(0, layer)
    inputs = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    inputs[0] = 2 + inputs[0].contiguous(memory_format=ORDERS[order])
    found = [_derivatives(function, inputs) for function in (ours, theirs)]
    for mine, wanted in zip(*found, strict=True):
        torch.testing.assert_close(mine, wanted, rtol=1e-10, atol=1e-12)


def _derivatives(function: Callable[..., Tensor], inputs: list[Tensor]) -> list[Tensor]:
    generator = torch_generator(1)
    leaves = [value.clone().requires_grad_() for value in inputs]
    value = function(*leaves)
    g = torch.randn(value.shape, generator=generator, dtype=value.dtype).requires_grad_()
    first = torch.autograd.grad(value, leaves, g, create_graph=True)
    pairs = [(one, torch.randn(one.shape, generator=generator, dtype=one.dtype)) for one in first]
    scalar = sum((torch.sin(one) * way).sum() for one, way in pairs)
    assert isinstance(scalar, Tensor)
    second = torch.autograd.grad(scalar, [g, *leaves], materialize_grads=True)
    return [value.detach(), *(one.detach() for one in first), *second]


def test_values_and_first_derivatives_are_torchs_to_the_bit() -> None:
    """In float32; the bias of a convolution alone is added up otherwise."""
    for layer, (ours, theirs, shapes) in LAYERS.items():
        inputs = [torch.randn(shape, generator=torch_generator(2, layer)).requires_grad_() for shape in shapes]
        values = [function(*inputs) for function in (ours, theirs)]
        found = [torch.autograd.grad(value.square().sum(), inputs[:2]) for value in values]
        assert torch.equal(*values), layer
        assert all(torch.equal(a, b) for a, b in zip(*found, strict=True)), layer


def test_products_of_half_the_bits_keep_two_digits() -> None:
    """Values, gradients and second derivatives of what is rounded to bf16: none is exact, all are near."""
    inputs = [
        torch.randn(shape, generator=torch_generator(0, "bf16")) / 8 for shape in ((4, 8, 7, 7), (8, 8, 3, 3), (8,))
    ]
    exact, near = (
        _derivatives(lambda x, w, b, as_=as_: convolve(x, w, b, 1, as_), inputs) for as_ in (None, torch.bfloat16)
    )
    for wanted, found in zip(exact, near, strict=True):
        assert found.dtype == torch.float32
        assert torch.equal(found, wanted) == (wanted.ndim == 1)  # by the bias: a sum, without a product
        assert (found - wanted).norm() <= 0.02 * wanted.norm()


def test_a_network_multiplies_as_it_is_told() -> None:
    x = torch.rand(2, 3, 16, 16, generator=torch_generator(1))
    networks = [Conv4(Conv4Config(channels=4, precision=p), in_channels=3, size=16, ways=3) for p in ("fp32", "bf16")]
    theta = networks[0].init(torch_generator(0))
    exact, near = (network(theta, x) for network in networks)
    assert not torch.equal(exact, near)
    assert (near - exact).norm() < 0.05 * exact.norm()


def test_running_statistics_are_moved_as_torch_moves_them() -> None:
    x, gain, shift = torch.randn(4, 3, 5, 5), torch.rand(3), torch.rand(3)
    moved = [(torch.zeros(3), torch.ones(3)) for _ in range(2)]
    batch_norm(x, gain, shift, *moved[0], 0.1)
    F.batch_norm(x, *moved[1], gain, shift, training=True, momentum=0.1)
    assert all(torch.equal(a, b) for a, b in zip(*moved, strict=True))


def test_each_samples_own_gradient_is_that_of_the_sample_alone() -> None:
    """The layers go through `torch.func`, which maps one sample's gradient over many."""
    network = Conv4(Conv4Config(channels=2), in_channels=3, size=32, ways=3)
    theta = {k: v.double() for k, v in network.init(torch_generator(0)).items()}
    x, y = torch.rand(3, 3, 32, 32, generator=torch_generator(1), dtype=torch.float64), torch.arange(3)
    found = squared_gradients(lambda p, image, label: network.loss(p, image[None], label[None]), theta, x, y)
    alone = [network.loss_and_gradients(theta, x[i : i + 1], y[i : i + 1])[1] for i in range(3)]
    for name, value in found.items():
        wanted = torch.stack([one[name].square() for one in alone]).mean(0)
        torch.testing.assert_close(value, wanted, rtol=1e-9, atol=1e-14)


def test_a_third_derivative_is_refused() -> None:
    x = torch.randn(2, 1, 4, 4, dtype=torch.float64, requires_grad=True)
    gain = torch.ones(1, dtype=torch.float64, requires_grad=True)
    (first,) = torch.autograd.grad(batch_norm(x, gain, gain).pow(3).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.pow(2).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        second.sum().backward()
