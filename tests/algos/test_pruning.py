"""Magnitude pruning and its budgets (powerprop sheet, sections 4 and 5; fact P7)."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from frisket.algos.masks.ranking import Ranking, Scope, cubic_kept, descending, erk_counts, largest, layer_counts
from frisket.errors import MaskError, SpecError
from frisket.rng import torch_generator
from frisket.types import Params

SHAPES = {"fc1.weight": (30, 40), "fc2.weight": (20, 30), "fc3.weight": (10, 20)}
EVERY: tuple[Scope, ...] = ("global", "layer", "erk")


def weights(key: int = 0) -> Params:
    generator = torch_generator(0, "weights", key)
    return {k: torch.randn(shape, generator=generator) for k, shape in SHAPES.items()}


def kept(masks: Params) -> dict[str, int]:
    return {k: int(v.sum()) for k, v in masks.items()}


@given(p=st.floats(0.01, 1.0))
@settings(max_examples=40, deadline=None)
def test_p7_layers_keep_int_p_size_and_the_output_twice_the_share(p: float) -> None:
    masks = Ranking(weights(), "layer", output=("fc3.weight", "fc3.bias")).keep(p)
    assert kept(masks) == {
        "fc1.weight": int(p * 1200),
        "fc2.weight": int(p * 600),
        "fc3.weight": int(min(1, 2 * p) * 200),
    }


@given(p=st.floats(0.001, 1.0))
@settings(max_examples=40, deadline=None)
def test_global_keeps_the_largest_of_all(p: float) -> None:
    theta = weights()
    masks = Ranking(theta).keep(p)
    assert sum(kept(masks).values()) == int(p * 2000)
    inside = torch.cat([theta[k][m].abs() for k, m in masks.items()])
    outside = torch.cat([theta[k][~m].abs() for k, m in masks.items()])
    assert not len(outside) or float(inside.min()) >= float(outside.max())


@given(values=st.lists(st.integers(0, 5), min_size=1, max_size=24), data=st.data())
@settings(max_examples=200, deadline=None)
def test_the_largest_are_those_that_rank_first_of_equal_ones_too(values: list[int], data: st.DataObject) -> None:
    flat = torch.tensor(values, dtype=torch.float64)
    shape, count = data.draw(st.sampled_from([(-1,), (1, -1), (-1, 1)])), data.draw(st.integers(0, len(values)))
    order, wanted = descending(flat), torch.zeros(len(values), dtype=torch.bool)
    wanted[order[:count]] = True
    found, least = largest(flat.view(shape), count)
    assert torch.equal(found, wanted.view(shape))
    assert least == flat[order[max(count - 1, 0)]]


@pytest.mark.parametrize("scope", EVERY)
def test_masks_are_nested(scope: Scope) -> None:
    ranking = Ranking(weights(), scope)
    last = ranking.keep(0.01)
    for p in (0.05, 0.3, 1.0):
        masks = ranking.keep(p)
        assert all(bool((~last[k] | masks[k]).all()) for k in masks)
        assert {k: tuple(m.shape) for k, m in masks.items()} == SHAPES
        last = masks
    assert all(bool(m.all()) for m in last.values())


def test_ties_are_broken_by_flat_index() -> None:
    masks = Ranking({"a": torch.ones(2, 3), "b": -torch.ones(4)}).keep(0.75)
    assert masks["a"].all()
    assert masks["b"].tolist() == [True, False, False, False]


def test_erk_by_hand() -> None:
    """Densities 70/1200, 50/600, 30/200 times eps; eps (70 + 50 + 30) = 0.1 * 2000, so eps = 4/3."""
    assert erk_counts(SHAPES, 0.1) == {"fc1.weight": 93, "fc2.weight": 66, "fc3.weight": 40}


def test_erk_makes_a_full_layer_dense_and_scales_the_others_anew() -> None:
    """At 0.6 of 2000 weights fc3 would pass 1 (eps = 8); it is dense, and eps becomes 1000 / 120."""
    assert erk_counts(SHAPES, 0.6) == {"fc1.weight": 583, "fc2.weight": 416, "fc3.weight": 200}
    assert erk_counts(SHAPES, 1.0) == {"fc1.weight": 1200, "fc2.weight": 600, "fc3.weight": 200}


def test_erk_counts_a_kernels_taps() -> None:
    shapes = {"conv": (8, 4, 3, 3), "fc": (10, 8)}
    counts = erk_counts(shapes, 0.2)
    assert counts["conv"] / counts["fc"] == pytest.approx((8 + 4 + 3 + 3) / (10 + 8), rel=0.05)


def test_layer_counts_without_an_output() -> None:
    assert layer_counts({"a": 7, "b": 5}, 0.5) == {"a": 3, "b": 2}


@pytest.mark.parametrize("fraction", [0.0, -0.1, 1.01, float("nan")])
def test_kept_fractions_outside_are_refused(fraction: float) -> None:
    with pytest.raises(SpecError, match="nothing would be left"):
        Ranking(weights()).keep(fraction)


def test_a_fraction_that_keeps_nothing_is_refused() -> None:
    with pytest.raises(MaskError, match="keeps none of 2000 weights"):
        Ranking(weights()).keep(0.0001)


def test_cubic_schedule() -> None:
    kept_at = [cubic_kept(t, 100, 300, 0.1) for t in range(0, 500, 25)]
    assert kept_at[:5] == [1.0] * 5
    assert kept_at[12:] == pytest.approx([0.1] * 8)
    assert all(a >= b for a, b in pairwise(kept_at))
    assert cubic_kept(200, 100, 300, 0.1) == pytest.approx(1 - 0.9 * (1 - 0.5**3))


@pytest.mark.parametrize(("changes", "field"), [({"final": 0.0}, "final"), ({"last": 100}, "last")])
def test_cubic_schedule_refuses(changes: dict[str, float], field: str) -> None:
    arguments = {"step": 0, "first": 100, "last": 300, "final": 0.1, **changes}
    with pytest.raises(SpecError) as caught:
        cubic_kept(**arguments)  # type: ignore[arg-type]
    assert caught.value.field == field
