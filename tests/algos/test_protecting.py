"""Prune and protect: nothing that is protected ever changes (powerprop sheet, facts P9 and P10), under every optimiser,
weight decay, bias policy, with and without Powerpropagation."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from sequences import STEPS, batches, learn, learner_of, network, striped, task_of
from toys import small_network

from frisket.algos.kinds import NETWORKS
from frisket.algos.learners.tasks.packnet import PackNet, PackNetConfig
from frisket.algos.masks.mask_set import MaskSet
from frisket.algos.networks.vae import VAEConfig
from frisket.algos.parts.tree import equal_states, map_tensors
from frisket.algos.state_file import load_state, save_state
from frisket.errors import MaskError, SpecError
from frisket.rng import torch_generator
from frisket.types import Batch, Params, State

METHODS = {"packnet": {"tasks": 3}, "efficient-packnet": {"grid": (0.05, 0.2, 0.4)}}
every_method = pytest.mark.parametrize("kind", list(METHODS))
every_policy = pytest.mark.parametrize("biases", ["freeze_after_first", "per_task", "none"])
every_optimiser = pytest.mark.parametrize("optimiser", ["adam", "momentum", "nesterov", "sgd"])
every_alpha = pytest.mark.parametrize("alpha", [1.0, 2.0])


def copy(state: State) -> State:
    return map_tensors(torch.clone, state)


def protected(state: State, params: Params) -> dict[str, torch.Tensor]:
    """The values that may not move, as bits."""
    return {k: params[k][~free].view(torch.int32) for k, free in state["free"].items()}


@every_method
@every_policy
@every_optimiser
@every_alpha
def test_p9_p10_protected_weights_and_old_answers_keep_their_bits(
    kind: str, biases: str, optimiser: str, alpha: float
) -> None:
    learner = learner_of(
        kind, alpha, biases=biases, optimiser=optimiser, weight_decay=0.05, retrain_steps=2, **METHODS[kind]
    )
    state = learner.init(seed=1)
    x = striped(0, "asked").x
    answers: list[torch.Tensor] = []
    free_before = 1.0
    for index in range(3):
        before = copy(state)

        def unmoved(now: State, before: State = before) -> None:
            for k, values in protected(before, before["theta"]).items():
                assert torch.equal(values, now["theta"][k][~before["free"][k]].view(torch.int32))

        state, metrics = learn(learner, state, index, watch=unmoved)
        unmoved(state)
        store = learner.store(state)
        assert all(torch.equal(state["free"][k], ~used) for k, used in store.union().items())
        assert metrics["capacity_free"] == pytest.approx(1 - MaskSet(state["free"]).sparsity())
        assert metrics["capacity_free"] <= free_before
        free_before = metrics["capacity_free"]
        for k, free in state["free"].items():
            fresh, old = state["theta"][k][free], before["theta"][k][free]
            if learner.config.refill == "redraw":
                assert bool((fresh != 0).all())
                assert not bool((fresh == old).any())
            else:
                assert not fresh.any()
        answer = learner.predict(state, x, task_of(index))
        assert answer is not None
        answers.append(answer)
        for earlier, kept in enumerate(answers):
            again = learner.predict(state, x, task_of(earlier))
            assert again is not None
            assert torch.equal(again, kept)
    assert not torch.equal(answers[0], answers[1])


@every_policy
def test_what_is_not_masked_follows_the_policy(biases: str) -> None:
    learner = learner_of("packnet", biases=biases, tasks=3, head="masked")
    start = learner.init(seed=0)
    first, _ = learn(learner, copy(start), 0)
    second, _ = learn(learner, copy(first), 1)
    seen = [state["theta"]["fc1.bias"] for state in (start, first, second)]
    moved = [not torch.equal(a, b) for a, b in pairwise(seen)]
    expected = {"freeze_after_first": [True, False], "per_task": [True, True], "none": [False, False]}
    assert moved == expected[biases]
    assert sorted(second["own"]) == (["fc1.bias", "fc2.bias", "fc3.bias"] if biases == "per_task" else [])
    if biases == "per_task":
        assert torch.equal(second["own"]["fc1.bias"][0], first["theta"]["fc1.bias"])
    if biases == "none":
        assert not second["theta"]["fc1.bias"].any()


def test_a_head_for_each_task_is_no_part_of_the_masks() -> None:
    learner = learner_of("efficient-packnet", head="per_task")
    state = learner.init(seed=0)
    state, _ = learn(learner, state, 0)
    assert learner.maskable == ("fc1.weight", "fc2.weight")
    assert sorted(state["own"]) == ["fc3.bias", "fc3.weight"]
    kept = state["own"]["fc3.weight"][0].clone()
    assert not torch.equal(kept, state["theta"]["fc3.weight"])  # drawn anew for the next task
    state, _ = learn(learner, state, 1)
    assert torch.equal(state["own"]["fc3.weight"][0], kept)
    assert torch.equal(learner.tasks(state).weights(0)["fc3.weight"], kept)


def test_biases_freeze_before_the_first_tasks_retraining() -> None:
    plain = learner_of("packnet", tasks=2, head="masked")
    retrained = learner_of("packnet", tasks=2, head="masked", retrain_steps=5)
    state, _ = learn(plain, plain.init(0), 0)
    other, _ = learn(retrained, retrained.init(0), 0)
    assert torch.equal(state["theta"]["fc1.bias"], other["theta"]["fc1.bias"])
    assert torch.equal(state["store"], other["store"])
    assert not torch.equal(state["theta"]["fc1.weight"], other["theta"]["fc1.weight"])


def test_retraining_lowers_the_loss_of_the_pruned_network() -> None:
    losses = []
    for steps in (0, 20):
        learner = learner_of("packnet", tasks=20, retrain_steps=steps)
        state, _ = learn(learner, learner.init(0), 0)
        x, y = striped(0, 1)
        logits = learner.predict(state, x, task_of(0))
        assert logits is not None
        losses.append(float(torch.nn.functional.cross_entropy(logits, y)))
    assert losses[1] < losses[0]


@every_method
def test_batch_norm_networks_keep_their_old_answers_too(kind: str) -> None:
    from frisket.algos.kinds import LEARNERS

    entry = LEARNERS[kind]
    for biases in ("freeze_after_first", "per_task", "none"):
        learner = entry.build(entry.config(biases=biases, **METHODS[kind]), small_network())
        state, x = learner.init(0), striped(0, "asked", 8).x
        state, _ = learn(learner, state, 0, 3)  # type: ignore[arg-type]
        first = learner.predict(state, x, task_of(0, 3))
        state, _ = learn(learner, state, 1, 3)  # type: ignore[arg-type]
        again = learner.predict(state, x, task_of(0, 3))
        assert first is not None
        assert again is not None
        assert torch.equal(first, again)
        assert "bn1.weight" not in state["free"]


@every_method
def test_stop_and_resume_in_the_middle_of_the_third_task(kind: str, tmp_path: Path) -> None:
    """The store, the moments and the redrawn weights survive the file: the same bits as never stopped."""
    learner = learner_of(kind, 1.5, biases="per_task", weight_decay=0.01, retrain_steps=2, **METHODS[kind])
    whole = learner.init(3)
    for index in range(3):
        whole, _ = learn(learner, whole, index)
    state = learner.init(3)
    for index in range(2):
        state, _ = learn(learner, state, index)
    third = list(batches(2))
    for batch in third[:3]:
        state, _ = learner.observe(state, batch)
    save_state(tmp_path / "s", state, {})
    resumed, _ = load_state(tmp_path / "s")
    for batch in third[3:]:
        resumed, _ = learner.observe(resumed, batch)
    assert equal_states(whole, resumed)


def test_no_free_weight_is_a_stop_before_training() -> None:
    learner = learner_of("packnet", tasks=2)
    state = learner.init(0)
    state, _ = learn(learner, state, 0)
    state, metrics = learn(learner, state, 1)
    assert metrics["capacity_free"] == 0
    before = copy(state)
    with pytest.raises(MaskError, match="no weight is left for task 2") as caught:
        learner.observe(state, next(batches(2)))
    assert caught.value.field == "capacity"
    assert f"{learner.store(state).capacity().exclusive.max()} weights" in caught.value.fix
    assert equal_states(state, before)
    assert learner.predict(state, striped(0, 0).x, task_of(1)) is not None


def test_a_task_cannot_come_back() -> None:
    learner = learner_of("packnet", tasks=3)
    state, _ = learn(learner, learner.init(0), 0)
    with pytest.raises(SpecError, match="has ended"):
        learner.observe(state, next(batches(0)))


def test_a_stream_that_does_not_say_where_tasks_end_is_refused() -> None:
    learner = learner_of("packnet", tasks=3)
    first = next(batches(0))
    state, _ = learner.observe(learner.init(0), first)
    with pytest.raises(SpecError, match="when a task ends"):
        learner.observe(state, next(batches(1)))
    with pytest.raises(SpecError, match="needs to be told the task"):
        learner.observe(state, first.hide_task())


def test_powerprop_refuses_weights_that_start_at_0() -> None:
    with pytest.raises(SpecError, match="never moves") as caught:
        PackNet(PackNetConfig(), network(2.0))
    assert caught.value.field == "refill"


def test_masks_of_another_network_are_refused() -> None:
    small, large = (learner_of("packnet", head="masked", width=width) for width in (2, 3))
    state, _ = learn(small, small.init(0), 0)
    with pytest.raises(MaskError, match="for a network of"):
        large.tasks({**large.init(0), "store": state["store"]})


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"lr": 0.0}, "lr"),
        ({"momentum": 1.0}, "momentum"),
        ({"weight_decay": -1.0}, "weight_decay"),
        ({"retrain_steps": -1}, "retrain_steps"),
        ({"retrain_lr": 0.0}, "retrain_lr"),
        ({"private_lr": 0.0}, "private_lr"),
        ({"prune": ()}, "prune"),
        ({"prune": (0.5, 1.0)}, "prune"),
        ({"tasks": 0}, "tasks"),
    ],
)
def test_numbers_that_cannot_be_are_refused(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(SpecError) as caught:
        PackNetConfig(**fields)
    assert caught.value.field == field


def test_the_private_rate_moves_what_is_a_tasks_own_and_nothing_else() -> None:
    config = VAEConfig(latent=2, encoder=(5,), head=(4,), shared=(6,), powerprop_alpha=2.0)
    vae = NETWORKS["vae"].build(config, in_channels=1, size=3, ways=10)
    x, y = torch.rand(8, 1, 3, 3, generator=torch_generator(0, "x")), torch.zeros(8, dtype=torch.int64)
    batch = Batch(x, y, position=0, task=task_of(0))

    def moves(private_lr: float | None) -> Params:
        fields = PackNetConfig(tasks=2, optimiser="sgd", refill="redraw", lr=0.1, private_lr=private_lr)
        learner = PackNet(fields, vae)
        before = learner.init(seed=0)
        after, _ = learner.observe(before, batch)
        return {k: v - before["theta"][k] for k, v in after["theta"].items()}

    one, other, private = moves(None), moves(0.025), set(vae.private)
    assert private
    assert private < set(one)
    for k, move in one.items():
        assert bool(move.any()), k
        assert torch.allclose(other[k], move / 4 if k in private else move, rtol=1e-4, atol=1e-8), k


def test_unfinished_and_unknown_tasks_are_answered_by_the_newest_network() -> None:
    learner = learner_of("packnet", tasks=3)
    state, x = learner.init(0), striped(1, "asked").x
    state, _ = learn(learner, state, 0)
    newest, unknown, nobody = (learner.predict(state, x, task) for task in (task_of(0), task_of(1), None))
    assert newest is not None
    assert unknown is not None
    assert nobody is not None
    assert torch.equal(newest, unknown)
    assert torch.equal(newest, nobody)
    state, _ = learner.observe(state, next(batches(1)))
    running = learner.predict(state, x, task_of(1))
    assert running is not None
    assert torch.equal(running, learner.network(state["theta"], x))
    assert task_of(2).start == STEPS * 2


def test_the_end_of_a_task_is_hidden_with_it() -> None:
    *_, last = batches(0)
    assert last.end is not None
    assert last.hide_task().end is None
    assert isinstance(last.end.batch(0), Batch)
