"""Adam as a function against `torch.optim.Adam`."""

from __future__ import annotations

import torch

from frisket.algos.parts import adam
from frisket.rng import torch_generator


def test_equals_torch_over_twenty_steps() -> None:
    generator = torch_generator(0, "adam")
    ours = {
        k: torch.randn(shape, generator=generator, dtype=torch.float64) for k, shape in {"a": (3, 2), "b": ()}.items()
    }
    theirs = {k: v.clone().requires_grad_() for k, v in ours.items()}
    optimiser = torch.optim.Adam(list(theirs.values()), lr=0.01)
    state = adam.init(ours)
    for _ in range(20):
        grads = {k: torch.randn(v.shape, generator=generator, dtype=torch.float64) for k, v in ours.items()}
        ours, state = adam.step(ours, grads, state, lr=0.01)
        for k, v in theirs.items():
            v.grad = grads[k].clone()
        optimiser.step()
    for k, v in ours.items():
        torch.testing.assert_close(v, theirs[k].detach(), rtol=1e-12, atol=1e-14)
    assert int(state["t"]) == 20


def test_first_step_by_hand() -> None:
    """At t = 1 both moments are unbiased to g and g^2: the step is -lr g / (|g| + eps), whatever the size of g."""
    delta, _ = adam.update({"a": torch.tensor([5.0, -0.25])}, adam.init({"a": torch.zeros(2)}), lr=0.1)
    torch.testing.assert_close(delta["a"], torch.tensor([-0.1, 0.1]))


def test_leaves_its_arguments_alone() -> None:
    params, grads = {"a": torch.ones(2)}, {"a": torch.ones(2)}
    state = adam.init(params)
    adam.step(params, grads, state, lr=0.1)
    assert int(state["t"]) == 0
    assert torch.equal(state["mean"]["a"], torch.zeros(2))
    assert torch.equal(params["a"], torch.ones(2))
