"""What became of the weights that survive pruning, counted by hand."""

from __future__ import annotations

import pytest
import torch

from frisket.algos.masks.ranking import Ranking
from frisket.algos.masks.survivors import EDGES, PARTS, survivors
from frisket.rng import torch_generator


def random_weights(key: str) -> dict[str, torch.Tensor]:
    scales = {"first": 0.05, "last": 0.5}
    return {k: s * torch.randn(30, 20, generator=torch_generator(0, key, k)) for k, s in scales.items()}


def test_by_hand() -> None:
    """Ten weights, one in each tenth; the three largest at the end are kept, of which one has crossed 0."""
    start = {"w": torch.tensor([0.1, -0.2, 0.3, -0.4, 0.5, -0.6, 0.7, -0.8, 0.9, -1.5])}
    end = {"w": torch.tensor([0.0, 0.0, 0.0, 0.41, 0.0, 0.0, 0.71, 0.0, 0.0, -3.0])}
    found = survivors(start, end, Ranking(end).keep(0.3))
    assert found.kept == 3
    assert found.flipped == 1
    assert found.by_start == (1,) * PARTS
    assert found.surviving_by_start == (0, 0, 0, 1, 0, 0, 1, 0, 0, 1)
    at = {value: i for i, value in enumerate(EDGES)}
    assert found.start[0] == 1
    assert sum(found.start) == 3
    assert found.end[0] == 1  # -3 lies beyond the bins
    assert found.end[at[0.4]] == found.end[at[0.7]] == 1


def test_bins_hold_what_lies_on_their_lower_edge() -> None:
    weights = {"w": torch.tensor([EDGES[0], 0.0, EDGES[-1]], dtype=torch.float64)}
    found = survivors(weights, weights, {"w": torch.ones(3, dtype=torch.bool)})
    middle = EDGES.index(0.0)
    assert [i for i, n in enumerate(found.end) if n] == [0, middle, len(EDGES) - 2]
    assert found.start == found.end


def test_counts_add_up_over_tensors_and_every_tensor_has_its_own_tenths() -> None:
    start, end = random_weights("start"), random_weights("end")
    masks = Ranking(end, "layer").keep(0.1)
    found = survivors(start, end, masks)
    kept = sum(int(mask.sum()) for mask in masks.values())
    assert sum(found.start) == sum(found.end) == sum(found.surviving_by_start) == found.kept == kept
    assert found.by_start == (120,) * PARTS
    alone = survivors(start, end, {"first": masks["first"]})
    assert alone.by_start == (60,) * PARTS


def test_tenths_are_by_starting_magnitude() -> None:
    """Keep what started largest: the upper half survives whole, the lower not at all; nothing has changed its sign."""
    start = random_weights("start")
    found = survivors(start, start, Ranking(start, "layer").keep(0.5))
    assert found.surviving_by_start == (0,) * 5 + (120,) * 5
    assert found.flipped == 0


@pytest.mark.parametrize("factor", [-1.0, -0.5])
def test_every_sign_changed(factor: float) -> None:
    start = random_weights("start")
    found = survivors(start, {k: factor * v for k, v in start.items()}, Ranking(start).keep(0.2))
    assert found.flipped == found.kept == 240


def test_equal_weights_fill_every_tenth() -> None:
    """Zeros have equal ranks to nobody: ties go by position, so every tenth has its share."""
    zeros = {"w": torch.zeros(40)}
    found = survivors(zeros, zeros, Ranking(zeros).keep(0.25))
    assert found.by_start == (4,) * PARTS
    assert found.surviving_by_start == (4, 4, 2, 0, 0, 0, 0, 0, 0, 0)
    assert found.flipped == 0
