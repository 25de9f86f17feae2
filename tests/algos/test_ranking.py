"""Which weights are the largest: against a stable sort."""

from __future__ import annotations

import pytest
import torch

from frisket.algos.masks.ranking import descending, largest
from frisket.rng import torch_generator

TYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.bfloat16}


@pytest.mark.parametrize("kind", list(TYPES))
@pytest.mark.parametrize("of", [2, 10**6])  # nearly all equal, and none
@pytest.mark.parametrize("count", [0, 1, 7, 29, 30])
def test_they_are_those_that_a_stable_sort_puts_first(kind: str, of: int, count: int) -> None:
    values = torch.randint(of, (5, 6), generator=torch_generator(0, kind, of)).to(TYPES[kind])
    order = descending(values.flatten())
    inside, least = largest(values, count)
    assert inside.dtype == torch.bool
    assert inside.flatten().nonzero().flatten().tolist() == sorted(order[:count].tolist())
    assert least == values.flatten()[order[max(count, 1) - 1]]


@pytest.mark.parametrize("kind", list(TYPES))
def test_where_numbers_are_none_any_more_as_many_as_there_are_at_most_are_inside(kind: str) -> None:
    values = torch.full((12,), torch.nan).to(TYPES[kind])
    values[:4] = torch.arange(4.0)
    inside, least = largest(values, 10)
    assert int(inside.sum()) <= 10
    assert least == 2
    assert int(largest(values, 5)[0].sum()) == 0
    assert largest(values, 5)[1].isnan()
