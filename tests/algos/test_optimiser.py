"""Momentum and Nesterov's momentum as functions against `torch.optim.SGD`; the others have tests of their own."""

from __future__ import annotations

import pytest
import torch

from frisket.algos.parts.optimiser import Momentum, Nesterov, OptimiserConfig, build_optimiser
from frisket.algos.parts.tree import descend
from frisket.rng import torch_generator

LR, MU = 0.01, 0.9


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("kind", ["momentum", "nesterov"])
def test_equals_torch_over_twenty_steps(kind: str, weight_decay: float) -> None:
    generator = torch_generator(0, "optimiser")
    shapes = {"a": (3, 2), "b": ()}
    ours = {k: torch.randn(shape, generator=generator, dtype=torch.float64) for k, shape in shapes.items()}
    theirs = {k: v.clone().requires_grad_() for k, v in ours.items()}
    reference = torch.optim.SGD(
        list(theirs.values()), lr=LR, momentum=MU, nesterov=kind == "nesterov", weight_decay=weight_decay
    )
    optimiser = (Nesterov if kind == "nesterov" else Momentum)(MU, weight_decay)
    state = optimiser.init(ours)
    for _ in range(20):
        grads = {k: torch.randn(v.shape, generator=generator, dtype=torch.float64) for k, v in ours.items()}
        along, state = optimiser.direction(optimiser.decayed(grads, ours), state)
        ours = descend(ours, LR, along)
        for k, v in theirs.items():
            v.grad = grads[k].clone()
        reference.step()
    for k, v in ours.items():
        torch.testing.assert_close(v, theirs[k].detach(), rtol=1e-12, atol=1e-12)


def test_two_steps_of_nesterov_by_hand() -> None:
    """g = 1, mu = 0.5: v = 1, u = 1.5; then v = 1.5, u = 1.75. The state before a step is left alone."""
    optimiser, grads = Nesterov(0.5), {"a": torch.ones(1)}
    first = optimiser.init(grads)
    along, second = optimiser.direction(grads, first)
    assert (float(along["a"]), float(second["velocity"]["a"])) == (1.5, 1.0)
    along, third = optimiser.direction(grads, second)
    assert (float(along["a"]), float(third["velocity"]["a"])) == (1.75, 1.5)
    assert float(first["velocity"]["a"]) == 0


def test_a_configuration_builds_what_it_names() -> None:
    built = build_optimiser(OptimiserConfig(optimiser="nesterov", momentum=0.8, weight_decay=0.1))
    assert isinstance(built, Nesterov)
    assert (built.momentum, built.weight_decay) == (0.8, 0.1)
    assert type(build_optimiser(OptimiserConfig(optimiser="momentum"))) is Momentum
