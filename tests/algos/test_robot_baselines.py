"""What sequences of robot tasks are compared with: A-GEM, perfect memory, VCL, single tasks and all tasks at once
(continual_world spec, sections 5 and 11)."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from frisket.algos.contract.toys import line_batch, noise_task
from frisket.algos.kinds import LEARNERS
from frisket.algos.learners.robots.learner import RobotLearner
from frisket.algos.learners.robots.many_heads import ManyHeadsLearner
from frisket.algos.learners.robots.sac_vcl import SACVCL
from frisket.algos.networks.layer_norm_mlp import LayerNormMLP, LayerNormMLPConfig, ManyHeads
from frisket.algos.networks.powerprop import Powerprop
from frisket.algos.parts import mean_field, transitions
from frisket.algos.parts.clip import clip_by_global_norm
from frisket.algos.parts.mean_field import Gaussian
from frisket.algos.parts.tree import equal_states, map_tensors
from frisket.algos.sac.gaussian import GaussianTarget
from frisket.algos.sac.policy import Weights
from frisket.errors import SpecError
from frisket.rng import numpy_generator, torch_generator
from frisket.types import State

SHAPE = (3, 1, 1)
MANY = ("sac-agem", "sac-perfect-memory", "sac-multi")


def learner(kind: str, alpha: float = 1.0, **fields: Any) -> Any:
    row = LEARNERS[kind]
    network = LayerNormMLP(LayerNormMLPConfig(hidden=(24, 24)), inputs=3, ways=2)
    made = row.build(row.config(**{**row.quick, **fields}), Powerprop(network, alpha) if alpha > 1 else network)
    assert isinstance(made, RobotLearner)
    return made


def led(made: RobotLearner, positions: range, state: State | None = None) -> State:
    state = made.init(0) if state is None else state
    for position in positions:
        state, _ = made.observe(state, line_batch(position, SHAPE))
    return state


def test_c3_a_head_is_chosen_by_the_number_which_nothing_else_sees() -> None:
    one = LayerNormMLP(LayerNormMLPConfig(hidden=(8, 8)), inputs=3, ways=2)
    many = ManyHeads(one, tasks=4, column=2)
    weights = many.init(torch_generator(0))
    x = torch.randn(5, 3, generator=torch_generator(1))
    for task in range(4):
        seen = torch.cat([x[:, :2], torch.full((5, 1), float(task)), x[:, 2:]], 1)
        found = many(weights, seen)
        assert torch.allclose(found, one({**weights, **many.head_of(weights, task)}, x))
        others = {k: v.clone() for k, v in weights.items()}
        for k in many.head:
            rows = others[k].view(4, 2, *others[k].shape[1:])
            rows[[t for t in range(4) if t != task]] = 7.0
        assert torch.equal(many(others, seen), found)


@pytest.mark.parametrize("alpha", [1.0, 1.5])
def test_c9_a_gem_never_moves_against_what_is_kept(alpha: float, monkeypatch: pytest.MonkeyPatch) -> None:
    import frisket.algos.sac.many_heads as module

    found = []

    def watched(g: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
        turned = plain(g, reference)
        scale = float(turned.norm() * reference.norm())
        found.append((float(g @ reference), float(turned @ reference) / scale))
        return turned

    plain = module.agem_projection
    monkeypatch.setattr(module, "agem_projection", watched)
    made = learner("sac-agem", alpha)
    led(made, range(3))
    assert not found
    led(made, range(9))
    assert any(before < 0 for before, _ in found)
    assert all(after >= -1e-5 for _, after in found)


def test_a_gem_keeps_transitions_of_every_task_that_has_ended() -> None:
    made = learner("sac-agem", task_memory=30)
    state = led(made, range(3))
    last = {k: v.clone() for k, v in state["memory"].items()}
    state = led(made, range(3, 7), state)
    kept = state["kept"]
    assert int(kept["pushed"]) == 60
    assert kept["observations"][:60, -1].flatten().tolist() == [0.0] * 30 + [1.0] * 30
    there = {tuple(row.flatten().tolist()) for row in last["observations"][: int(last["pushed"])]}
    assert all(tuple(row.flatten().tolist()) in there for row in kept["observations"][:30])
    assert int(state["memory"]["pushed"]) == 24  # of the third task alone


def test_perfect_memory_keeps_all_and_then_any() -> None:
    made = learner("sac-perfect-memory", memory_slots=200)
    state = led(made, range(6))
    memory = state["memory"]
    assert int(memory["pushed"]) == 144
    assert [int((memory["observations"][:144, -1] == t).sum()) for t in range(2)] == [72, 72]
    assert int(state["acted"]) == 72
    small = transitions.empty(50, (1, 1, 1), 1)
    for number in range(40):
        rows = torch.full((25, 1), float(number))
        transitions.push_any(small, numpy_generator(0, number), rows.view(25, 1, 1, 1), *[rows.view(25, 1, 1, 1)],
                             rows, rows, rows)  # fmt: skip
    counts = torch.bincount(small["actions"].flatten().long() // 10, minlength=4)
    assert counts.sum() == 50
    assert counts.min() >= 4  # of 12.5 expected in each quarter


@pytest.mark.parametrize("kind", MANY)
def test_every_task_has_an_entropy_coefficient_and_a_head_of_its_own(kind: str) -> None:
    made = learner(kind, tasks=3)
    assert isinstance(made, ManyHeadsLearner)
    state = led(made, range(3))
    begun = map_tensors(torch.clone, {k: state[k] for k in ("theta", "log_eta")})
    eta, head = begun["log_eta"], begun["theta"]["head.weight"].view(3, 2, -1)
    fresh = made.init(0)
    alone = kind != "sac-multi" and kind != "sac-perfect-memory"
    assert float(eta[0]) != made.config.log_eta
    assert eta[1:].tolist() == [made.config.log_eta] * 2
    assert torch.equal(head[1:], fresh["theta"]["head.weight"].view(3, 2, -1)[1:])
    if alone:
        state = led(made, range(3, 6), state)
        assert float(state["log_eta"][0]) == float(eta[0])
        assert float(state["log_eta"][1]) != made.config.log_eta


def test_a_task_too_many_is_refused_with_the_fix() -> None:
    made = learner("sac-perfect-memory", tasks=2)
    with pytest.raises(SpecError, match="at least the number of the stream's tasks"):
        led(made, range(7))


def test_all_at_once_nothing_begins_with_a_task() -> None:
    made = learner("sac-multi")
    state = led(made, range(7))
    assert int(state["acted"]) == int(state["memory"]["pushed"]) == 7 * 24
    assert int(state["optimiser"]["actor"]["t"]) == int(state["updates"]) > 0


def test_a_single_task_is_learned_as_if_there_were_no_other() -> None:
    made = learner("sac-single")
    state = led(made, range(3))
    first = {k: v.clone() for k, v in made.weights_for(state, noise_task(0)).items()}
    assert not any(torch.equal(state["theta"][k], v) for k, v in first.items() if k.endswith("weight") and "fc" in k)
    kernels, start = [k for k in state["critics"] if k.endswith("fc1.weight")], made.init(0)["critics"]
    assert kernels
    assert not any(torch.equal(state["critics"][k], start[k]) for k in kernels)
    state = led(made, range(3, 9), state)
    assert equal_states(first, made.weights_for(state, noise_task(0)))
    assert made.starts(state) == [0, 3, 6]


def steps_of(alpha: float, prior: Gaussian | None, phi: State, log_sigma: State, lr: float) -> GaussianTarget:
    made = learner("sac-vcl", alpha)
    weights = Weights({k: v.clone() for k, v in made.plain.init(torch_generator(0)).items()})
    state = {"mean": made.optimiser.init(phi), "log_sigma": made.optimiser.init(log_sigma)}
    return GaussianTarget(
        made.optimiser, made.network, weights, phi, state, lr=lr, moving=list(phi), open_={}, active={},
        clipped=clip_by_global_norm, log_sigma=log_sigma, prior=prior, strength=2.0, key=3, number=5,
    )  # fmt: skip


@pytest.mark.parametrize("alpha", [1.0, 1.5])
def test_vcl_steps_along_the_gradient_of_loss_and_divergence(alpha: float) -> None:
    """A first step of Adam goes by the signs of the gradient alone; automatic differentiation gives them too."""
    made = learner("sac-vcl", alpha)
    phi = made.init(0)["theta"]
    names = made.random(phi)
    log_sigma = {k: torch.full_like(v, -2.0) for k, v in names.items()}
    prior = Gaussian({k: v + 0.1 for k, v in names.items()}, {k: torch.full_like(v, -1.0) for k, v in names.items()})
    before = map_tensors(torch.clone, {"phi": phi, "log_sigma": log_sigma})
    stepper = steps_of(alpha, prior, phi, log_sigma, 0.01)
    eps = mean_field.standard_normal(names, torch_generator(3, "vcl", 5))
    leaves = map_tensors(lambda v: v.clone().requires_grad_(), {"phi": before["phi"], "log_sigma": before["log_sigma"]})
    q = Gaussian({k: leaves["phi"][k] for k in names}, leaves["log_sigma"])
    x = torch.randn(6, 3, generator=torch_generator(4))

    def loss(outputs: torch.Tensor) -> torch.Tensor:
        return outputs.square().mean()

    whole = loss(made.network({**leaves["phi"], **mean_field.sample(q, eps)}, x)) + 2.0 * mean_field.divergence(
        q, prior
    )
    whole.backward()
    loss(made.plain(stepper.weights, x)).backward()
    stepper.step()
    for part, now in (("phi", phi), ("log_sigma", log_sigma)):
        for k, leaf in leaves[part].items():
            moved = now[k] - before[part][k]
            clear = leaf.grad.abs() > 1e-4
            assert torch.equal(moved[clear].sign(), -leaf.grad[clear].sign()), (part, k)
            if not (part == "phi" and alpha > 1):
                assert torch.allclose(moved[clear].abs(), torch.tensor(0.01), rtol=0.05)


def test_vcl_has_no_divergence_in_its_first_task_and_its_posterior_is_the_next_prior() -> None:
    made = learner("sac-vcl")
    assert isinstance(made, SACVCL)
    state = led(made, range(2))
    held = learner("sac-vcl", strength=1e6)
    assert equal_states(state["theta"], led(held, range(2))["theta"])
    state = led(made, range(3))
    assert equal_states(state["prior"]["log_sigma"], state["log_sigma"])
    assert set(state["log_sigma"]) == {"fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"}
    at_end = map_tensors(torch.clone, {k: state[k] for k in ("theta", "log_sigma")})
    free, tight = led(made, range(3, 6), map_tensors(torch.clone, state)), led(held, range(3, 6), state)
    away = [max(float((one["theta"][k] - at_end["theta"][k]).abs().max()) for k in one["log_sigma"])
            for one in (free, tight)]  # fmt: skip
    assert 0 < away[1] < away[0]
    for one in (free, tight):
        for k in ("norm1.weight", "norm1.bias"):
            assert torch.equal(one["theta"][k], at_end["theta"][k])
