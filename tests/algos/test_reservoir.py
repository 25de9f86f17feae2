"""The replay memory: fact 7 of the lamaml spec."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from toys import build

from frisket.algos.contract.toys import noise_batch
from frisket.algos.parts import reservoir
from frisket.algos.parts.reservoir import ReservoirRule
from frisket.rng import numpy_generator
from frisket.types import Data


def numbered(first: int, count: int) -> Data:
    y = torch.arange(first, first + count)
    return Data(y.float().view(-1, 1, 1, 1), y)


@pytest.mark.parametrize("rule", ["official", "textbook"])
def test_holds_the_first_slots_then_keeps_its_size(rule: ReservoirRule) -> None:
    memory = reservoir.empty()
    assert reservoir.draw(memory, 5, numpy_generator(0)) is None
    for n in range(0, 30, 3):
        memory = reservoir.push(memory, numbered(n, 3), 8, rule, numpy_generator(0, n))
        assert int(memory["age"]) == n + 3
        assert reservoir.stored(memory) == min(n + 3, 8)
        assert torch.equal(memory["x"].flatten(), memory["y"].float())
        if n + 3 <= 8:
            assert memory["y"][: n + 3].tolist() == list(range(n + 3))
    assert len(set(memory["y"].tolist())) == 8


def test_storage_is_allocated_once() -> None:
    memory = reservoir.push(reservoir.empty(), numbered(0, 1), 4, "official", numpy_generator(0))
    place = memory["x"].data_ptr()
    for n in range(1, 20):
        memory = reservoir.push(memory, numbered(n, 1), 4, "official", numpy_generator(0, n))
    assert memory["x"].data_ptr() == place


@pytest.mark.parametrize(("rule", "late"), [("textbook", 0.0), ("official", 1.0)])
def test_acceptance_probability(rule: ReservoirRule, late: float) -> None:
    """A push at age n is accepted with S / n (textbook) or S / (n + 1) (official)."""
    slots, age, streams = 5, 20, 100_000
    draws = numpy_generator(3, "acceptance").integers(0, np.full(streams, age + (rule == "official")))
    assert (draws < slots).mean() == pytest.approx(slots / (age + late), abs=0.005)


@pytest.mark.parametrize("rule", ["official", "textbook"])
def test_7_early_and_late_samples_are_kept_alike(rule: ReservoirRule) -> None:
    """100,000 streams of 40 samples at once, by the rule `push` follows; then `push` itself on 400 streams."""
    slots, length, streams = 20, 40, 100_000
    kept = retained(slots, length, streams, rule)
    early, late = kept[:, : length // 2].mean(), kept[:, length // 2 :].mean()
    # The official rule accepts with S / (n + 1), not S / n, which favours early samples by one or two points here.
    assert abs(early - late) < 0.01 + 0.02 * (rule == "official")
    shares = np.zeros(length)
    for stream in range(400):
        memory = reservoir.push(reservoir.empty(), numbered(0, length), slots, rule, numpy_generator(stream, "push"))
        shares[memory["y"].numpy()] += 1
    assert shares.sum() == 400 * slots
    assert abs(shares[: length // 2].mean() - shares[length // 2 :].mean()) / 400 < 0.05


def retained(slots: int, length: int, streams: int, rule: str) -> np.ndarray:
    generator = numpy_generator(0, "streams", rule)
    held = np.full((streams, slots), -1)
    for n in range(length):
        if n < slots:
            held[:, n] = n
            continue
        r = generator.integers(0, n + 1 + (rule == "official"), size=streams)
        accepted = np.flatnonzero(r < slots)
        held[accepted, r[accepted]] = n
    kept = np.zeros((streams, length))
    np.put_along_axis(kept, held, 1, axis=1)
    return kept


def test_draws_are_with_replacement_and_no_more_than_stored() -> None:
    memory = reservoir.push(reservoir.empty(), numbered(0, 3), 8, "official", numpy_generator(0))
    sizes, repeated = set(), False
    for k in range(50):
        drawn = reservoir.draw(memory, 10, numpy_generator(1, k))
        assert drawn is not None
        sizes.add(len(drawn.y))
        assert set(drawn.y.tolist()) <= {0, 1, 2}
        repeated |= len(set(drawn.y.tolist())) < 3
    assert sizes == {3}
    assert repeated


@pytest.mark.parametrize(("form", "glances"), [("la-maml", 5), ("la-er", 3), ("er", 4)])
def test_7_a_batch_is_pushed_once_however_often_it_is_glanced_at(form: str, glances: int) -> None:
    learner = build(form, glances=glances)
    state = learner.init(0)
    for position in range(2):
        state, _ = learner.observe(state, noise_batch(position))
    assert int(state["memory"]["age"]) == 12
