"""Online Adam, MAML, ANIL and C-MAML without PAP: fact A10 and each update against plain PyTorch."""

from __future__ import annotations

import hashlib
import math

import pytest
import torch
import torch.nn.functional as F
from toys import build, run, small_network, start, warm

from frisket.algos.contract.toys import noise_batch
from frisket.algos.networks.network import split
from frisket.types import Params, State


def digest(params: Params) -> str:
    return hashlib.sha256(b"".join(k.encode() + params[k].numpy().tobytes() for k in sorted(params))).hexdigest()


@pytest.mark.parametrize("kind", ["static-maml", "static-anil"])
def test_a10_the_initialisation_never_changes(kind: str) -> None:
    """A10: theta's hash is that of the pre-trained start after any number of steps."""
    learner = build(kind)
    state = learner.init(0, start(kind, 0))
    before = digest(state["theta"])
    end = run(learner, state, range(6), noise_batch)
    assert digest(end["theta"]) == before
    warm = start(kind, 0)
    assert warm is not None
    assert before == digest(warm["theta"])


def test_a10_online_adam_takes_t_steps_and_they_are_adams() -> None:
    """A10: none at t = 0, exactly t after step index t; weights as by `torch.optim.Adam`."""
    learner = build("online-adam", outer_lr=0.01)
    state = learner.init(0)
    network = small_network()
    theirs = {k: v.clone().requires_grad_() for k, v in state["theta"].items()}
    optimiser = torch.optim.Adam(list(theirs.values()), lr=0.01)
    for t in range(6):
        batch = noise_batch(t)
        state, _ = learner.observe(state, batch)
        assert int(state["adam"]["t"]) == t
        if t:
            optimiser.zero_grad()
            F.cross_entropy(network(theirs, batch.x), batch.y).backward()
            optimiser.step()
        for k, v in theirs.items():
            if not (k.startswith("conv") and k.endswith("bias")):  # no gradient but rounding in front of batch norm
                torch.testing.assert_close(state["theta"][k], v.detach(), rtol=1e-3, atol=1e-5)


def test_fine_tuning_goes_on_with_the_moments_of_the_pretraining() -> None:
    """Section 4: with pre-training Adam's moments carry over into the stream."""
    learner = build("online-adam")
    pretrained = warm("all", 2)
    taken = int(pretrained["adam"]["theta"]["t"])
    assert taken > 0
    end = run(learner, learner.init(0, pretrained), range(3), noise_batch)
    assert int(end["adam"]["t"]) == taken + 2


def test_anil_adapts_the_head_and_maml_every_adaptable_tensor() -> None:
    for kind, expected in (("static-anil", small_network().head), ("static-maml", small_network().adaptable)):
        learner = build(kind)
        state = run(learner, learner.init(0), range(2), noise_batch)
        assert sorted(state["phi"]) == sorted(expected)
        moved = [k for k, v in state["phi"].items() if not torch.equal(v, state["theta"][k])]
        assert set(small_network().head) <= set(moved)


def test_maml_answers_from_the_last_batch_alone() -> None:
    """phi is adapted from theta on D_{t-1}: what came before leaves no trace."""
    learner = build("static-maml")
    far = run(learner, learner.init(0), range(5), noise_batch)
    near = run(learner, learner.init(0), range(4, 5), noise_batch)
    x = noise_batch(9).x
    a, b = learner.predict(far, x), learner.predict(near, x)
    assert a is not None
    assert b is not None
    assert torch.equal(a, b)


def plain_every_step(state: State, batches: int, order: int, lam: float) -> tuple[Params, Params]:
    """C-MAML without PAP by plain autograd: the graph of phi_{t-1} is kept alive from one step to the next."""
    network = small_network()
    theta = {k: v.clone().requires_grad_() for k, v in state["theta"].items()}
    eta = {k: v.clone().requires_grad_() for k, v in state["m"].items()}
    optimiser = torch.optim.Adam([*theta.values(), *eta.values()], lr=0.01)
    past: tuple[Params, Params, Params] | None = None
    for t in range(batches):
        batch = noise_batch(t, dtype=torch.float64)
        old_theta = {k: v.detach().clone().requires_grad_() for k, v in theta.items()}
        old_eta = {k: v.detach().clone().requires_grad_() for k, v in eta.items()}
        phi, rest = split(network, old_theta)
        for _ in range(2):
            loss = F.cross_entropy(network({**rest, **phi}, batch.x), batch.y)
            grads = torch.autograd.grad(loss, list(phi.values()), create_graph=order == 2)
            phi = {k: v - old_eta[k] * g for (k, v), g in zip(phi.items(), grads, strict=True)}
        if past is not None:
            last_phi, last_theta, last_eta = past
            optimiser.zero_grad()
            _, rest = split(network, theta)
            before = F.cross_entropy(network({**rest, **last_phi}, batch.x), batch.y)
            ((1 - torch.exp(-lam * before.detach())) * before).backward()
            for new, old in ((theta, last_theta), (eta, last_eta)):
                for k, v in new.items():
                    parts = [g for g in (v.grad, old[k].grad) if g is not None]
                    v.grad = torch.stack(parts).sum(0)
            optimiser.step()
        past = phi, old_theta, old_eta
    return {k: v.detach() for k, v in theta.items()}, {k: v.detach() for k, v in eta.items()}


@pytest.mark.parametrize("order", [1, 2])
def test_every_step_equals_plain_autograd(order: int) -> None:
    """Section 5: the gradient found at the old theta is applied to the new one; both orders, theta and eta, with UM."""
    learner = build("cmaml-no-pap", order=order, outer_lr=0.01, um_lambda=0.7, step_size=0.1, inner_steps=2)
    state = learner.init(0)
    to_double = {part: {k: v.double() for k, v in state[part].items()} for part in ("theta", "m", "phi")}
    state = {**state, **to_double}
    if order == 1:
        state["grad_sum"] = {k: v.double() for k, v in state["grad_sum"].items()}
    theta, eta = plain_every_step(state, 5, order, lam=0.7)
    for t in range(5):
        state, _ = learner.observe(state, noise_batch(t, dtype=torch.float64))
    assert int(state["adam"]["theta"]["t"]) == 4
    for ours, theirs in ((state["theta"], theta), (state["m"], eta)):
        for k, v in theirs.items():
            if not (k.startswith("conv") and k.endswith("bias")):  # no gradient but rounding in front of batch norm
                torch.testing.assert_close(ours[k], v, rtol=1e-5, atol=1e-7)


def test_every_step_skips_the_outer_step_at_a_switch() -> None:
    """Section 5, point 5: after a detection theta and eta stay, and phi is the new task's."""
    learner = build("cmaml-no-pap", switch_threshold=1e-9)
    state = run(learner, learner.init(0), range(1), noise_batch)
    after, report = learner.observe(state, noise_batch(1))
    assert report["detected"] == 1
    assert math.isnan(report["outer_loss"])
    assert digest(after["theta"]) == digest(state["theta"])
    assert digest(after["phi"]) != digest(state["phi"])
    off = build("cmaml-no-pap", switch_threshold=1000.0)
    moved, report = off.observe(state, noise_batch(1))
    assert report["outer_loss"] == report["loss_before"]
    assert digest(moved["theta"]) != digest(state["theta"])
