"""Picking by a mask is torch's own picking, to the bit."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from frisket.algos.masks.select import cleared, ones, where

SPECIAL = (0.0, -0.0, torch.inf, -torch.inf, torch.nan, 1e-45, 3.4e38)


def numbers(dtype: torch.dtype, seed: int) -> Tensor:
    """[37, 24], some of them special."""
    x = torch.randn(37, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    x.view(-1)[5 * seed : 5 * seed + len(SPECIAL)] = torch.tensor(SPECIAL, dtype=torch.float64)
    return x.to(dtype)


def bits(x: Tensor) -> Tensor:
    return x.contiguous().view(torch.uint8)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("turned", [False, True])
def test_picks_as_torch_does(dtype: torch.dtype, turned: bool) -> None:
    yes, no = numbers(dtype, 0), numbers(dtype, 3)
    mask = torch.rand(yes.shape, generator=torch.Generator().manual_seed(2)) < 0.4
    if turned:  # as the weights of a linear layer lie when it is read the other way round
        yes, no, mask = yes.t(), no.t(), mask.t()
    assert torch.equal(bits(where(mask, yes, no)), bits(torch.where(mask, yes, no)))
    assert torch.equal(bits(cleared(mask, yes)), bits(torch.where(mask, yes, 0)))
    assert torch.equal(ones(mask, dtype), mask.to(dtype))


def test_arguments_stay_as_they_are() -> None:
    yes, no, mask = numbers(torch.float32, 0), numbers(torch.float32, 3), torch.rand(37, 24) < 0.5
    before = [bits(x).clone() for x in (yes, no, mask)]
    for picked in (where(mask, yes, no), cleared(mask, yes), ones(mask, yes.dtype)):
        picked.neg_()
    assert all(torch.equal(bits(x), was) for x, was in zip((yes, no, mask), before, strict=True))


def test_gradients_are_those_of_what_was_picked() -> None:
    mask = torch.rand(37, 24) < 0.5
    yes, no = (torch.randn(37, 24, dtype=torch.float64, requires_grad=True) for _ in range(2))
    for picked in (where(mask, yes, no), cleared(mask, yes)):
        (by_yes,) = torch.autograd.grad(picked.sum(), yes)
        assert torch.equal(by_yes, mask.double())
    (by_no,) = torch.autograd.grad(where(mask, yes, no).sum(), no)
    assert torch.equal(by_no, (~mask).double())
