"""Replay Meta-BGD, iCaRL, Independent, gradient alignment and epochs against the lamaml spec, sections 2.2, 4 and 5."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from toys import build, double, largest_difference, run, small_mlp

from frisket.algos.contract.toys import noise_batch, noise_data
from frisket.algos.kinds import LEARNERS
from frisket.algos.learners.look_ahead.replay_metabgd import ReplayMetaBGD, ReplayMetaBGDConfig
from frisket.algos.learners.look_ahead.second_order import look_ahead_second
from frisket.algos.learners.replay.er import OnlineSGD, OnlineSGDConfig
from frisket.algos.learners.replay.gem import GEM, GEMConfig
from frisket.algos.learners.replay.icarl import NO_EXEMPLAR, ICaRL, ICaRLConfig, herd
from frisket.algos.learners.replay.independent import Independent, IndependentConfig
from frisket.algos.networks.mlp import MLP, MLPConfig
from frisket.algos.networks.strided_conv import StridedConv, StridedConvConfig
from frisket.algos.parts import posterior
from frisket.algos.parts.alignment import alignment
from frisket.algos.parts.clip import global_norm
from frisket.algos.parts.tree import equal_states, lifted, map_tensors, picked
from frisket.errors import SpecError
from frisket.rng import torch_generator
from frisket.types import Batch, Data, Params, State, Task

EXACT = 1e-10
SIDE, WAYS, OWN = 4, 4, 2


def blocks_mlp() -> MLP:
    """Two tasks of two labels."""
    return MLP(MLPConfig(hidden=(6,)), in_channels=1, size=SIDE, ways=WAYS, own=OWN)


def task_batch(task: int, position: int, *, steps: int = 3, epoch: int = 0, count: int = 6) -> Batch:
    """Noise with the labels of ``task``, which has ``steps`` batches."""
    x = torch.rand(count, 1, SIDE, SIDE, generator=torch_generator(0, "task", task, position), dtype=torch.float64)
    y = torch.arange(count) % OWN + task * OWN
    return Batch(x, y, position, Task("toy", tuple(range(WAYS)), task * steps), epoch)


def doubled(state: State) -> State:
    return map_tensors(lambda t: t.double() if t.is_floating_point() else t, state)


def difference(a: Params, b: Params) -> float:
    assert a.keys() == b.keys()
    return max(float((a[k] - b[k]).abs().max()) for k in a)


@pytest.mark.parametrize("form", ["la-maml", "sync-la-maml", "replay-cmaml", "sparse-la-maml", "replay-metabgd"])
def test_7_meta_methods_remember_the_first_epoch_alone(form: str) -> None:
    learner = build(form, glances=2, inner_steps=3)
    state, _ = learner.observe(learner.init(0), noise_batch(0))
    assert int(state["memory"]["age"]) == 6
    state, _ = learner.observe(state, dataclasses.replace(noise_batch(1), epoch=1))
    assert int(state["memory"]["age"]) == 6


@pytest.mark.parametrize("form", ["er", "la-er"])
def test_7_er_and_la_er_push_in_every_epoch(form: str) -> None:
    learner = build(form)
    state = learner.init(0)
    for epoch in range(3):
        state, _ = learner.observe(state, dataclasses.replace(noise_batch(0), epoch=epoch))
    assert int(state["memory"]["age"]) == 18


def test_alignment_is_the_cosine_of_the_two_gradients() -> None:
    network = small_mlp()
    theta = double(network.init(torch_generator(0, "theta")))
    old, new = noise_data(1), noise_data(2)
    meta = Data(torch.cat([old.x, new.x]), torch.cat([old.y, new.y]))
    vectors = []
    for data in (old, new):
        _, grads = network.loss_and_gradients(theta, data.x, data.y)
        vectors.append(torch.cat([g.flatten() for g in grads.values()]))
    found = alignment(network, theta, meta, 6)
    assert found is not None
    assert float(found) == pytest.approx(float(F.cosine_similarity(*vectors, dim=0)), abs=EXACT)
    twice = alignment(network, theta, Data(torch.cat([new.x, new.x]), torch.cat([new.y, new.y])), 6)
    assert twice is not None
    assert float(twice) == pytest.approx(1.0)
    assert alignment(network, theta, new, 6) is None


@pytest.mark.parametrize("form", ["er", "la-maml", "replay-metabgd"])
def test_alignment_is_reported_and_moves_nothing(form: str) -> None:
    ends: dict[bool, State] = {}
    for asked in (False, True):
        learner = build(form, alignment=asked, glances=1, **({"samples_per_step": 6} if form == "er" else {}))
        state, first = learner.observe(learner.init(0), noise_batch(0))
        ends[asked], second = learner.observe(state, noise_batch(1))
        # One step a batch sees no draw at first; Meta-BGD's second weight sample already does.
        assert ("alignment" in first) == (asked and form == "replay-metabgd")
        assert ("alignment" in second) == asked
        if asked:
            assert -1 <= second["alignment"] <= 1
    assert equal_states(ends[False], ends[True])


def metabgd(**changes: Any) -> tuple[ReplayMetaBGD, State]:
    fields = {"inner_steps": 1, "glances": 1, "replay_batch": 0, "alpha_init": 0.3, "mean_lr": 3.0, "sigma_0": 0.1}
    learner = ReplayMetaBGD(ReplayMetaBGDConfig(**{**fields, **changes}), small_mlp())
    return learner, doubled(learner.init(0))


def test_replay_metabgd_by_its_equations() -> None:
    """One inner step, so that the order of the batch does not matter; two weight samples."""
    learner, state = metabgd(clip_norm=0.05)
    data, network, sigma = noise_data(0), learner.network, state["sigma"]
    grad = {k: torch.zeros_like(v) for k, v in state["mu"].items()}
    grad_noise = {k: torch.zeros_like(v) for k, v in state["mu"].items()}
    for s in range(2):
        eps = posterior.noise(state, s)
        w = {k: v + sigma[k] * eps[k] for k, v in state["mu"].items()}
        g = look_ahead_second(network, 2.0, w, {k: torch.full_like(v, 0.3) for k, v in w.items()}, [data], data, "mean")
        norm = float(global_norm(g.theta))
        assert norm > 0.05
        for k, v in g.theta.items():
            grad[k] += 6 * v * (0.05 / (norm + 1e-6)) / 2
            grad_noise[k] += 6 * v * (0.05 / (norm + 1e-6)) * eps[k] / 2
    after, metrics = learner.observe(state, Batch(data.x, data.y, 0))
    assert difference(after["mu"], {k: v - 3 * sigma[k] ** 2 * grad[k] for k, v in state["mu"].items()}) < EXACT
    for k, v in after["sigma"].items():
        half = sigma[k] * grad_noise[k] / 2
        assert torch.allclose(v, sigma[k] * torch.sqrt(1 + half**2) - sigma[k] * half, atol=EXACT)
    logits = learner.predict(after, data.x)
    assert logits is not None
    assert torch.equal(logits, network(after["mu"], data.x))
    assert metrics["loss_before"] == pytest.approx(float(network.loss(state["mu"], data.x, data.y)))


def test_replay_metabgd_every_glance_has_its_own_noise() -> None:
    learner, state = metabgd(glances=2)
    one, _ = metabgd(glances=1)
    batch = noise_batch(0, dtype=torch.float64)
    twice, _ = learner.observe(state, batch)
    once, _ = one.observe(state, batch)
    again, _ = one.observe({**once, "memory": one.init(0)["memory"], "step": torch.tensor(1)}, batch)
    assert difference(twice["mu"], again["mu"]) < 1e-6  # updates 0 and 1 of either
    repeated, _ = one.observe({**once, "memory": one.init(0)["memory"], "step": torch.tensor(0)}, batch)
    assert difference(twice["mu"], repeated["mu"]) > 1e-6


def test_replay_metabgd_of_the_released_code_learns_its_rates_unclipped() -> None:
    paper, _ = metabgd()
    assert not any(k.startswith("rate.") for k in paper.init(0)["mu"])
    moved = {}
    for clip in (1e-9, None):
        learner, state = metabgd(alpha_bayes=True, clip_norm=clip)
        rates = {k: v for k, v in state["mu"].items() if k.startswith("rate.")}
        assert all(torch.allclose(v, torch.full_like(v, 0.3)) for v in rates.values())
        assert len(rates) * 2 == len(state["mu"])
        end, _ = learner.observe(state, noise_batch(0, dtype=torch.float64))
        moved[clip] = {k: end["mu"][k] - v for k, v in state["mu"].items()}
    for k in moved[None]:
        same = torch.equal(moved[None][k], moved[1e-9][k])
        assert same == k.startswith("rate.")
        assert bool((moved[None][k] != 0).any())


def test_herding_by_hand() -> None:
    """Mean 2: 1 comes nearest; then (1 + 5) / 2 = 3 beats (1 + 0) / 2; 0 is left."""
    features = torch.tensor([[0.0], [1.0], [5.0]])
    assert herd(features, 3).tolist() == [1, 2, 0]
    assert herd(features, 2).tolist() == [1, 2]
    assert herd(features, 9).tolist() == [1, 2, 0]


def icarl(**changes: Any) -> tuple[ICaRL, State]:
    learner = ICaRL(ICaRLConfig(**{"lr": 0.05, "memories": 8, "task_steps": 3, **changes}), blocks_mlp())
    return learner, doubled(learner.init(0))


def learned(learner: ICaRL, state: State, task: int, steps: int = 3) -> State:
    for step in range(steps):
        state, _ = learner.observe(state, task_batch(task, 3 * task + step))
    return state


def test_icarl_keeps_exemplars_class_by_class() -> None:
    learner, state = icarl()
    first = learned(learner, state, 0)
    kept = first["exemplars"]
    assert kept["y"].tolist() == [0] * 4 + [1] * 4
    assert kept["logits"].shape == (8, OWN)
    earlier = torch.cat([task_batch(0, 0).x, task_batch(0, 1).x])
    last = task_batch(0, 2).x
    assert all(any(torch.equal(x, seen) for seen in earlier) for x in kept["x"])
    assert not any(torch.equal(x, seen) for x in kept["x"] for seen in last)
    assert int(first["pool"]["count"]) == int(first["given"]) == 0

    second = learned(learner, first, 1)["exemplars"]
    assert second["y"].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert torch.equal(second["x"][:4], kept["x"][[0, 1, 4, 5]])  # the first of those chosen before


def test_icarl_candidates_are_those_of_the_first_epoch() -> None:
    learner, state = icarl(memories=20, task_steps=4, skip_last_piece=False)
    for step in range(4):
        state, _ = learner.observe(state, task_batch(0, step, epoch=step // 2))
        assert int(state["pool"]["count"]) == (6 * min(step + 1, 2) if step < 3 else 0)
    assert len(state["exemplars"]["y"]) == 12  # the two batches of the first epoch


def test_icarl_answers_with_the_nearest_class_mean() -> None:
    learner, state = icarl()
    x = task_batch(0, 50).x
    nothing = learner.predict(state, x)
    assert nothing is not None
    assert torch.equal(nothing, torch.full((6, WAYS), NO_EXEMPLAR, dtype=x.dtype))
    state = learned(learner, state, 0)
    answer = learner.predict(state, x)
    assert answer is not None
    features, kept = learner.network(state["theta"], x), state["exemplars"]
    for label in (0, 1):
        mean = learner.network(state["theta"], kept["x"][kept["y"] == label]).mean(0)
        assert torch.allclose(answer[:, label], -(features - mean).norm(dim=1))
    assert bool((answer[:, 2:] == NO_EXEMPLAR).all())


def test_icarl_loss_is_the_printed_one() -> None:
    """Five times the mean over a task's entries, with two classes a task; all exemplars of a class are made the same,
    so that it does not matter which is drawn."""
    learner, state = icarl(strength=0.7)
    state = learned(learner, state, 0)
    held = state["exemplars"]
    held["x"] = held["x"][[0] * 4 + [4] * 4]
    held["logits"] = torch.randn(2, OWN, generator=torch_generator(1), dtype=torch.float64)[[0] * 4 + [1] * 4]
    batch = task_batch(1, 3)
    theta = {k: v.detach().requires_grad_() for k, v in state["theta"].items()}
    loss = F.cross_entropy(learner.network(theta, batch.x)[:, 2:], batch.y - 2)
    q = held["logits"][[0, 4]].softmax(-1)
    log_p = learner.network(theta, held["x"][[0, 4]])[:, :2].log_softmax(-1)
    loss = loss + 0.7 * OWN * (q * (q.log() - log_p)).mean()
    grads = dict(zip(theta, torch.autograd.grad(loss, list(theta.values())), strict=True))
    after, metrics = learner.observe(state, batch)
    assert difference(after["theta"], {k: v.detach() - 0.05 * grads[k] for k, v in theta.items()}) < EXACT
    assert metrics["outer_loss"] == pytest.approx(float(loss.detach()))


def test_icarl_glances_learn_more_and_choose_once() -> None:
    (once, a), (twice, b) = icarl(), icarl(glances=2)
    a, b = learned(once, a, 0), learned(twice, b, 0)
    assert len(a["exemplars"]["y"]) == len(b["exemplars"]["y"]) == 8
    assert difference(a["theta"], b["theta"]) > 1e-6


def test_icarl_task_that_ends_early_leaves_exemplars() -> None:
    learner, state = icarl(task_steps=100)
    state = learned(learner, state, 0)
    assert not len(state["exemplars"]["y"])
    state, _ = learner.observe(state, task_batch(1, 3))
    assert state["exemplars"]["y"].unique().tolist() == [0, 1]
    assert int(state["pool"]["count"]) == 6


def test_icarl_memory_has_room_for_every_class() -> None:
    with pytest.raises(SpecError, match="memories"):
        icarl(memories=3)


def test_independent_networks_do_not_touch_each_other() -> None:
    learner = Independent(IndependentConfig(lr=0.1), small_mlp())
    state = run(learner, learner.init(0), range(3), noise_batch)
    first = {k: v[0].clone() for k, v in state["theta"].items()}
    state = run(learner, state, range(3, 4), noise_batch)
    assert state["starts"].tolist() == [0, 3]
    assert all(torch.equal(v[0], first[k]) for k, v in state["theta"].items())

    sgd = OnlineSGD(OnlineSGDConfig(lr=0.1), small_mlp())
    ends = []
    for one in (learner, sgd):
        begin = one.init(0)
        exact = {**begin, "theta": double(begin["theta"])}
        ends.append(run(one, exact, range(4), lambda at: noise_batch(at, dtype=torch.float64))["theta"])
    second = {k: v[1] for k, v in ends[0].items()}  # it went on from the first
    assert largest_difference(second, ends[1]) < 1e-10

    x = noise_batch(9).x
    old, new, unmet = (learner.predict(state, x, Task("noise", (0, 1), start)) for start in (0, 3, 6))
    assert old is not None
    assert new is not None
    assert unmet is not None
    assert torch.equal(old, small_mlp()(first, x))
    assert torch.equal(new, small_mlp()({k: v[1] for k, v in state["theta"].items()}, x))
    assert torch.equal(new, unmet)


def test_gem_of_the_cifar_profile_clips_before_it_projects_and_looks_twice() -> None:
    network = blocks_mlp()
    learner = GEM(GEMConfig(lr=0.1, memories=6, margin=0.5, ridge=1e-3, clip_norm=0.01, samples_per_step=6), network)
    state = doubled(learner.init(0))
    batch = task_batch(0, 0)
    after, _ = learner.observe(state, batch)
    step = {k: (v - after["theta"][k]) / 0.1 for k, v in state["theta"].items()}
    assert float(global_norm(step)) == pytest.approx(0.01, rel=1e-3)
    ring = Data(after["rings"]["x"], after["rings"]["y"])
    _, grads = learner.gradient_on(lifted(after["theta"]), ring)
    assert float(global_norm(grads)) == pytest.approx(0.01, rel=1e-3)
    grads = picked(grads, 0)
    assert bool((grads["fc2.weight"][OWN:] == 0).all())  # the other task's logits get no gradient

    twice = GEM(dataclasses.replace(learner.config, glances=2), network)
    seen, _ = twice.observe(doubled(twice.init(0)), batch)
    assert seen["rings"]["pushed"].tolist() == [6]
    again, _ = learner.observe(after, batch)
    assert difference(seen["theta"], again["theta"]) < EXACT


CIFAR_PROFILE: dict[str, dict[str, Any]] = {
    "er": {"samples_per_step": 6, "glances": 2, "clip_norm": 2.0},
    "gem": {"samples_per_step": 6, "glances": 2, "clip_norm": 5.0, "margin": 0.5, "ridge": 1e-3},
    "a-gem": {"samples_per_step": 6, "glances": 2, "clip_norm": 2.0, "reference": "code"},
    "mer": {"clip_norm": 10.0, "passes": 2},
    "icarl": {"task_steps": 3, "clip_norm": 5.0},
    "la-er": {"inner_steps": 5},
    "la-maml": {"inner_steps": 3, "inner_rate": "raw", "inner_clamp": 1.0, "clip_norm": 1.0, "second_order": True},
    "sparse-la-maml": {"inner_steps": 3, "inner_clamp": 1.0, "second_order": True},
    "replay-cmaml": {"inner_steps": 3, "inner_clamp": 2.0, "second_order": True},
    "replay-metabgd": {},
    "independent": {},
}


@pytest.mark.parametrize("kind", list(CIFAR_PROFILE))
def test_9_a_task_leaves_the_logits_of_the_others_alone(kind: str) -> None:
    """On the convolutional network with blocks of two labels, the head's rows move block by block, replay included."""
    entry = LEARNERS[kind]
    network = StridedConv(
        StridedConvConfig(convolutions=1, filters=2, hidden=(4,)), in_channels=1, size=SIDE, ways=WAYS, own=OWN
    )
    learner = entry.build(entry.config(**CIFAR_PROFILE[kind]), network)
    state = doubled(learner.init(0))

    def head() -> torch.Tensor:
        weights = (state["theta"] if "theta" in state else state["mu"])["fc2.weight"]
        return (weights[-1] if kind == "independent" else weights).clone()

    heads = [head()]
    for task in range(2):
        for step in range(3):
            state, metrics = learner.observe(state, task_batch(task, 3 * task + step))
            assert all(math.isfinite(v) for v in metrics.values())
        heads.append(head())
    assert torch.equal(heads[1][OWN:], heads[0][OWN:])
    assert not torch.equal(heads[1][:OWN], heads[0][:OWN])
    assert not torch.equal(heads[2][OWN:], heads[1][OWN:])
    # Old labels are learned again from what is remembered of them. The code's A-GEM protects nothing of two tasks.
    remembers = learner.capabilities.replay and kind != "a-gem"
    assert torch.equal(heads[2][:OWN], heads[1][:OWN]) != remembers


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: ReplayMetaBGDConfig(alpha_init=-0.1), "alpha_init"),
        (lambda: ReplayMetaBGDConfig(samples=0), "samples"),
        (lambda: ReplayMetaBGDConfig(mean_lr=0.0), "mean_lr"),
        (lambda: ReplayMetaBGDConfig(memory_slots=3), "memory_slots"),
        (lambda: ICaRLConfig(task_steps=0), "task_steps"),
        (lambda: ICaRLConfig(strength=-1.0), "strength"),
        (lambda: GEMConfig(glances=0), "glances"),
    ],
)
def test_mistakes_are_named(make: Any, field: str) -> None:
    with pytest.raises(SpecError, match=field):
        make()
