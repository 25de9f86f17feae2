"""Protection on an actor: a policy that learns by a policy gradient, knows no labels, and keeps what tasks closed."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from frisket.algos.masks.protection import Protection, Refill, copy_of, held
from frisket.algos.masks.ranking import Ranking
from frisket.algos.parts import adam
from frisket.algos.parts.gradients import gradients, leaves
from frisket.errors import MaskError
from frisket.rng import torch_generator
from frisket.types import Params

COVERED, OWN = ("body", "out"), ("log_std", "shift")


def drawn(key: int) -> Params:
    """Weights of the actor: ``tanh(x body) out + shift``, its logarithm of the standard deviation apart."""
    generator = torch_generator(0, "actor", key)
    shapes = {"body": (4, 8), "out": (8, 2), "log_std": (2,), "shift": (2,)}
    return {k: torch.randn(shape, generator=generator) for k, shape in shapes.items()}


def mean_action(weights: Params, x: Tensor) -> Tensor:
    return torch.tanh(x @ weights["body"]) @ weights["out"] + weights["shift"]


def policy_gradient(weights: Params, key: int) -> Params:
    """One step of REINFORCE for a reward that wants the action ``key`` everywhere."""
    generator = torch_generator(1, "observations", key)
    x, noise = torch.randn(32, 4, generator=generator), torch.randn(32, 2, generator=generator)
    hung = leaves(weights)
    mean, std = mean_action(hung, x), hung["log_std"].exp()
    action = (mean + std * noise).detach()
    reward = -(action - key).square().sum(1)
    log_prob = (-((action - mean) / std).square() / 2 - hung["log_std"]).sum(1)
    return gradients(-((reward - reward.mean()) * log_prob).mean(), hung)


def masks_of(weights: Params, kept: float) -> Params:
    return Ranking({k: weights[k] for k in COVERED}, "layer", ()).keep(kept)


@pytest.mark.parametrize("refill", ["redraw", "zero"])
def test_an_actor_keeps_to_the_bit_what_its_tasks_have_closed(refill: Refill) -> None:
    protection = Protection(COVERED, refill=refill, afresh=("shift",))
    weights = drawn(0)
    kept = protection.init(weights, OWN)
    x = torch.randn(16, 4, generator=torch_generator(2, "asked"))
    answers: list[Tensor] = []
    for task in range(3):
        protection.require_free(kept)
        moments, begun = adam.init(weights), weights
        for step in range(5):
            wished, moments = adam.step(weights, policy_gradient(weights, 10 * task + step), moments, 0.05)
            weights = held(weights, wished, protection.open(kept))
        for k in COVERED:
            assert torch.equal(weights[k][~kept["free"][k]], begun[k][~kept["free"][k]])
            assert not torch.equal(weights[k][kept["free"][k]], begun[k][kept["free"][k]])
        masks, ended, fresh = masks_of(weights, 0.3), weights, drawn(task + 1)
        answers.append(mean_action({**weights, **{k: torch.where(masks[k], weights[k], 0) for k in COVERED}}, x))
        weights, kept, shares = protection.close(kept, weights, masks, fresh)
        for k in COVERED:
            start = fresh[k] if refill == "redraw" else torch.zeros_like(fresh[k])
            assert torch.equal(weights[k], torch.where(kept["free"][k], start, ended[k]))
        assert torch.equal(weights["shift"], fresh["shift"])
        assert torch.equal(weights["log_std"], ended["log_std"])
        free = sum(int(v.sum()) for v in kept["free"].values())
        assert shares["capacity_free"] == free / (4 * 8 + 8 * 2)
        assert shares["kept"] == sum(int(m.sum()) for m in masks.values()) / (4 * 8 + 8 * 2)
    store = protection.store(kept)
    for task, answer in enumerate(answers):
        own = copy_of(kept["own"], task)
        used = {k: torch.where(mask, weights[k], 0) for k, mask in store.masks(task).items()}
        assert torch.equal(mean_action({**used, **own}, x), answer)


def test_within_masks_only_their_free_weights_are_open() -> None:
    protection, weights = Protection(COVERED, refill="zero"), drawn(0)
    kept = protection.init(weights)
    masks = masks_of(weights, 0.5)
    assert protection.open(kept) == {}  # nothing is closed, so nothing need be chosen
    assert all(torch.equal(v, masks[k]) for k, v in protection.open(kept, within=masks).items())
    _, kept, _ = protection.close(kept, weights, masks, drawn(1))
    assert not any(v.any() for v in protection.open(kept, within=masks).values())


def test_shares_by_hand() -> None:
    """4 of 8 weights; then 3, 2 of them old; 3 are left."""
    protection = Protection(("w",), refill="zero")
    weights = {"w": torch.arange(8.0)}
    kept = protection.init(weights)
    first = {"w": torch.tensor([1, 1, 1, 1, 0, 0, 0, 0], dtype=torch.bool)}
    second = {"w": torch.tensor([1, 1, 0, 0, 1, 0, 0, 0], dtype=torch.bool)}
    weights, kept, shares = protection.close(kept, weights, first, weights)
    assert shares == {"kept": 0.5, "reused": 0.0, "capacity_free": 0.5}
    assert weights["w"].tolist() == [0, 1, 2, 3, 0, 0, 0, 0]
    weights, kept, shares = protection.close(kept, weights, second, weights)
    assert shares == {"kept": 3 / 8, "reused": 2 / 3, "capacity_free": 3 / 8}
    third = {"w": torch.ones(8, dtype=torch.bool)}
    _, kept, _ = protection.close(kept, weights, third, weights)
    with pytest.raises(MaskError, match="no weight is left for task 3") as caught:
        protection.require_free(kept)
    assert "task 2 alone holds the most, 3 weights" in caught.value.fix
