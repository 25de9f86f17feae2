"""Means and spreads over replicas, of which some may have diverged."""

from __future__ import annotations

import math

import pytest

from frisket.platform.run.aggregate import aggregate


def test_mean_and_population_spread_of_those_that_have_it() -> None:
    found = aggregate([{"a": 1.0, "b": 5.0}, {"a": 3.0}])
    assert found == {"a": {"mean": 2.0, "std": 1.0, "n": 2}, "b": {"mean": 5.0, "std": 0.0, "n": 1}}


@pytest.mark.parametrize(
    ("values", "mean"),
    [
        ([math.nan, 1.0], math.nan),
        ([math.inf, 1.0], math.inf),
        ([math.inf, -math.inf], math.nan),
        ([-math.inf, -math.inf], -math.inf),
    ],
)
def test_a_value_that_is_not_finite_has_no_spread_and_raises_nothing(values: list[float], mean: float) -> None:
    row = aggregate([{"nll": value} for value in values])["nll"]
    assert (row["mean"] == mean) or (math.isnan(row["mean"]) and math.isnan(mean))
    assert math.isnan(row["std"])
    assert row["n"] == 2
