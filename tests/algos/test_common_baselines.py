"""LwF and cumulative training against their equations, in float64."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from sequences import batches, network
from torch import Tensor
from toys import double, largest_difference, small_mlp

from frisket.algos.contract.toys import noise_batch
from frisket.algos.learner import Learner
from frisket.algos.learners.replay.cumulative import Cumulative, CumulativeConfig
from frisket.algos.learners.tasks.lwf import LwF, LwFConfig, distillation
from frisket.algos.learners.tasks.sequential import Sequential, SequentialConfig
from frisket.algos.networks.mlp import MLP, MLPConfig
from frisket.algos.networks.powerprop import Powerprop
from frisket.algos.parts.tree import descend, equal_states, map_tensors
from frisket.errors import SpecError
from frisket.rng import numpy_generator, torch_generator
from frisket.types import Batch, Params, State, Task, TaskEnd

EXACT = 1e-10
STEP = 1e-6
SIDE = 4


def doubled(state: State) -> State:
    """``state`` in float64."""
    return map_tensors(lambda t: t.double() if t.is_floating_point() else t, state)


def led(learner: Learner, tasks: range) -> State:
    """The state after striped tasks."""
    state = learner.init(0)
    for index in tasks:
        for batch in batches(index):
            state, _ = learner.observe(state, batch)
    return state


def of_labels(first: int, position: int, *, ends: bool = False) -> Batch:
    """Noise of the two labels from ``first`` on, float64; a task of its own."""
    x = torch.rand(6, 1, SIDE, SIDE, generator=torch_generator(0, "labels", position), dtype=torch.float64)
    end = TaskEnd(1, lambda i: of_labels(first, position), lambda: (x[:0], torch.zeros(0, dtype=torch.int64)))
    task = Task("toy", tuple(range(4)), position)
    return Batch(x, torch.arange(6) % 2 + first, position, task, end=end if ends else None)


def lwf(own: int | None, **fields: Any) -> tuple[LwF, MLP]:
    plain = MLP(MLPConfig(hidden=(5,)), in_channels=1, size=SIDE, ways=4, own=own)
    return LwF(LwFConfig(optimiser="sgd", lr=0.5, **fields), plain), plain


def after_first_task(learner: LwF) -> State:
    """Labels 0 and 1 learned and ended, and one step on 2 and 3: theta is not theta* any more."""
    state, _ = learner.observe(doubled(learner.init(0)), of_labels(0, 0, ends=True))
    state, _ = learner.observe(state, of_labels(2, 1))
    return state


def test_distillation_by_hand() -> None:
    """Two labels taught of three, T = 2, logits (2 log 3, 0, 9) held to (0, 0, 9).

    p of the old answer: softmax(0, 0) = (1/2, 1/2); of the new one: softmax(log 3, 0) = (3/4, 1/4). So
    T^2 H = 4 (1/2 log 4/3 + 1/2 log 4) = 2 log 16/3, and the gradient by the logits is T (p - q) = (1/2, -1/2, 0).
    """
    said = torch.tensor([[2 * math.log(3), 0, 9]], dtype=torch.float64, requires_grad=True)
    taught = torch.tensor([True, True, False])
    loss = distillation(said, torch.tensor([[0.0, 0, 9]], dtype=torch.float64), taught, None, 2.0)
    (grad,) = torch.autograd.grad(loss, [said])
    assert loss.item() == pytest.approx(2 * math.log(16 / 3), abs=EXACT)
    assert grad[0].tolist() == pytest.approx([0.5, -0.5, 0], abs=EXACT)


def test_distillation_is_the_sum_over_the_blocks_that_were_taught() -> None:
    generator = torch_generator(0, "logits")
    said, old = torch.randn(2, 5, 6, generator=generator, dtype=torch.float64)
    taught = torch.tensor([True] * 4 + [False] * 2)
    expected = torch.zeros((), dtype=torch.float64)
    for block in (slice(0, 2), slice(2, 4)):
        q, p = (old[:, block] / 3).softmax(1), (said[:, block] / 3).softmax(1)
        expected += -9 * (q * p.log()).sum(1).mean()
    assert float(distillation(said, old, taught, 2, 3.0)) == pytest.approx(float(expected), abs=EXACT)


def differences(loss: Callable[[Params], Tensor], theta: Params) -> Params:
    """The gradient of ``loss`` by central differences."""
    found: Params = {}
    for name, value in theta.items():
        flat = torch.zeros(value.numel(), dtype=torch.float64)
        for i in range(value.numel()):
            ends = []
            for sign in (1, -1):
                moved = value.clone().flatten()
                moved[i] += sign * STEP
                ends.append(float(loss({**theta, name: moved.view_as(value)})))
            flat[i] = (ends[0] - ends[1]) / (2 * STEP)
        found[name] = flat.view_as(value)
    return found


@pytest.mark.parametrize("own", [None, 2])
@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_distillations_gradient_is_that_of_finite_differences(own: int | None, temperature: float) -> None:
    learner, plain = lwf(own, temperature=temperature)
    state, x = after_first_task(learner), of_labels(2, 2).x
    teacher = plain(state["teacher"], x)
    _, grads = learner.distilled(state["theta"], state["teacher"], x, state["taught"])
    expected = differences(
        lambda theta: distillation(plain(theta, x), teacher, state["taught"], own, temperature), state["theta"]
    )
    assert largest_difference(grads, expected) < 1e-7
    assert max(float(g.abs().max()) for g in grads.values()) > 1e-3


@pytest.mark.parametrize("own", [None, 2])
def test_lwf_steps_along_both_gradients(own: int | None) -> None:
    learner, plain = lwf(own, strength=0.7)
    state, batch = after_first_task(learner), of_labels(2, 2)
    _, new = plain.loss_and_gradients(state["theta"], batch.x, batch.y)
    held, old = learner.distilled(state["theta"], state["teacher"], batch.x, state["taught"])
    after, metrics = learner.observe(state, batch)
    expected = {k: v - 0.5 * (new[k] + 0.7 * old[k]) for k, v in state["theta"].items()}
    assert largest_difference(after["theta"], expected) < EXACT
    assert metrics["distillation"] == pytest.approx(float(held))


def test_old_labels_are_those_of_ended_tasks_and_the_teacher_the_last_ones_end() -> None:
    learner, _ = lwf(None)
    state = doubled(learner.init(0))
    state, metrics = learner.observe(state, of_labels(0, 0))
    assert (bool(state["taught"].any()), metrics["distillation"]) == (False, 0.0)
    state, _ = learner.observe(state, of_labels(0, 1, ends=True))
    assert state["taught"].tolist() == [True, True, False, False]
    assert equal_states(state["teacher"], state["theta"])
    kept = map_tensors(torch.clone, state["teacher"])
    state, _ = learner.observe(state, of_labels(2, 2))
    assert equal_states(state["teacher"], kept)
    assert not equal_states(state["theta"], kept)
    assert state["taught"].tolist() == [True, True, False, False]
    state, _ = learner.observe(state, of_labels(2, 3, ends=True))
    assert state["taught"].all()
    assert equal_states(state["teacher"], state["theta"])


@pytest.mark.parametrize("alpha", [1.0, 2.0])
def test_lwf_is_sequential_training_in_the_first_task_and_at_strength_0(alpha: float) -> None:
    plain = Sequential(SequentialConfig(lr=0.01, fresh_optimiser=True), network(alpha))
    held, free = (LwF(LwFConfig(lr=0.01, strength=strength), network(alpha)) for strength in (1.0, 0.0))
    assert equal_states(led(plain, range(1))["theta"], led(held, range(1))["theta"])
    assert equal_states(led(plain, range(2))["theta"], led(free, range(2))["theta"])
    assert not equal_states(led(plain, range(2))["theta"], led(held, range(2))["theta"])


def test_teacher_of_a_reparametrised_network_is_its_effective_weights() -> None:
    learner = LwF(LwFConfig(lr=0.01), network(2.0))
    state = led(learner, range(1))
    assert isinstance(learner.network, Powerprop)
    assert equal_states(state["teacher"], learner.network.effective(state["theta"]).theta)
    assert not equal_states(state["teacher"], state["theta"])


def test_cumulative_training_is_plain_sgd_on_the_union() -> None:
    """All seen in one chunk: a step on the gradient of their mean loss, whatever the order."""
    learner = Cumulative(CumulativeConfig(lr=0.3, samples_per_step=100, passes=2), small_mlp())
    state = doubled(learner.init(0))
    theta, shown = double(state["theta"]), [noise_batch(t, dtype=torch.float64) for t in range(3)]
    for t, batch in enumerate(shown):
        x, y = (torch.cat([getattr(one, name) for one in shown[: t + 1]]) for name in ("x", "y"))
        for _ in range(2):
            _, grads = learner.network.loss_and_gradients(theta, x, y)
            theta = descend(theta, 0.3, grads)
        state, _ = learner.observe(state, batch)
        assert torch.equal(state["seen"]["x"], x)
        assert torch.equal(state["seen"]["y"], y)
    assert largest_difference(state["theta"], theta) < EXACT


def test_cumulative_training_goes_through_all_seen_in_the_drawn_order() -> None:
    learner = Cumulative(CumulativeConfig(lr=0.3, samples_per_step=5, clip_norm=0.01), small_mlp())
    state, _ = learner.observe(doubled(learner.init(4)), noise_batch(0, dtype=torch.float64))
    theta, seen = state["theta"], noise_batch(0, dtype=torch.float64)
    batch = noise_batch(1, dtype=torch.float64)
    x, y = torch.cat([seen.x, batch.x]), torch.cat([seen.y, batch.y])
    order = torch.from_numpy(numpy_generator(4, "cumulative", 1, 0).permutation(12))
    assert sorted(order.tolist()) == list(range(12))
    for chunk in (order[:5], order[5:10], order[10:]):
        before = theta
        _, grads = learner.network.loss_and_gradients(theta, x[chunk], y[chunk])
        norm = math.sqrt(sum(float(g.square().sum()) for g in grads.values()))
        theta = descend(theta, 0.3 * 0.01 / (norm + 1e-6), grads)
        assert largest_difference(before, theta) > 0
    after, _ = learner.observe(state, batch)
    assert largest_difference(after["theta"], theta) < EXACT


def test_a_later_pass_adds_nothing_to_what_was_seen() -> None:
    learner = Cumulative(CumulativeConfig(samples_per_step=6), small_mlp())
    state, _ = learner.observe(learner.init(0), noise_batch(0))
    again, _ = learner.observe(state, dataclasses.replace(noise_batch(0), position=1, epoch=1))
    assert len(again["seen"]["y"]) == 6
    assert not equal_states(again["theta"], state["theta"])


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: LwFConfig(temperature=0.0), "temperature = 0.0: must be above 0"),
        (lambda: LwFConfig(strength=-1.0), "strength = -1.0: must be at least 0"),
        (lambda: CumulativeConfig(passes=0), "passes = 0: must be at least 1"),
    ],
)
def test_mistakes_name_field_and_value(make: Callable[[], object], says: str) -> None:
    with pytest.raises(SpecError, match=says):
        make()
