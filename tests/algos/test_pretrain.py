"""MAML and ANIL pre-training: it learns, stops early, keeps the best, resumes to the bit."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from toys import build, small_network

from frisket.algos.contract.toys import separable_episode
from frisket.algos.inner import pretrain
from frisket.algos.inner.pretrain import PretrainConfig
from frisket.algos.learner import Learner
from frisket.algos.parts.tree import equal_states
from frisket.algos.state_file import load_state, save_state
from frisket.errors import SpecError
from frisket.rng import torch_generator
from frisket.types import Batch, State

CONFIG = PretrainConfig(
    epochs=3, patience=2, meta_batch=2, outer_lr=0.01, inner_steps=1, step_size=0.1, meta_batches_per_epoch=6,
    validation_episodes=4,
)  # fmt: skip


def states(config: PretrainConfig, state: State | None = None, channels: int = 2) -> Iterator[State]:
    return pretrain.pretrain(config, small_network(channels), separable_episode, seed=0, state=state)


@pytest.mark.parametrize("order", [1, 2])
def test_learns_to_adapt(order: int) -> None:
    """The labels are swapped in every other episode, so only adapting can beat 0.5."""
    config = dataclasses.replace(
        CONFIG, epochs=4, meta_batches_per_epoch=15, inner_steps=2, order=order, validation_episodes=10
    )
    *_, last = states(config, channels=4)
    assert float(last["best_accuracy"]) > 0.9
    assert float(last["outer_loss"]) < 0.6


@pytest.mark.parametrize("learn", [False, True])
def test_resumes_to_the_bit(learn: bool, tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, learn_step_sizes=learn)
    *_, whole = states(config)
    first = next(states(config))
    save_state(tmp_path / "p.safetensors", first, {})
    *_, resumed = states(config, load_state(tmp_path / "p.safetensors")[0])
    assert equal_states(whole, resumed)
    assert int(whole["epoch"]) == 3


def test_no_epochs_no_state() -> None:
    assert list(states(dataclasses.replace(CONFIG, epochs=0))) == []


def test_a_finished_state_goes_no_further() -> None:
    *_, last = states(CONFIG)
    assert pretrain.finished(CONFIG, last)
    assert list(states(CONFIG, last)) == []


def test_stops_when_patience_runs_out_and_returns_the_best_epoch() -> None:
    """No epoch beats the first: a patience of 2 bears two such epochs, the third is the last."""

    def never_better(split: str, number: int) -> Batch:
        episode = separable_episode(split, number)
        n = episode.support
        wrong = torch.full_like(episode.y[n:], 7)  # a label the network does not have: accuracy 0 for ever
        return episode if split == "train" else dataclasses.replace(episode, y=torch.cat([episode.y[:n], wrong]))

    config = dataclasses.replace(CONFIG, epochs=50)
    history = list(pretrain.pretrain(config, small_network(), never_better, seed=0))
    assert [int(s["stale"]) for s in history] == [0, 1, 2, 3]
    assert equal_states(pretrain.warm_start(history[-1]), pretrain.warm_start(history[0]))
    assert not torch.equal(history[-1]["theta"]["conv1.weight"], history[0]["theta"]["conv1.weight"])


def test_every_training_episode_is_new_and_validation_is_fixed() -> None:
    asked: dict[str, list[int]] = {"train": [], "validation": []}

    def source(split: str, number: int) -> Batch:
        asked[split].append(number)
        return separable_episode(split, number)

    list(pretrain.pretrain(CONFIG, small_network(), source, seed=0))
    assert asked["train"] == list(range(3 * 6 * 2))
    assert asked["validation"] == [0, 1, 2, 3] * 3


def test_starts_from_the_theta_a_learner_of_the_seed_would_draw() -> None:
    state = pretrain.init(CONFIG, small_network(), seed=4)
    learner = build("cmaml")
    assert torch.equal(state["theta"]["conv1.weight"], learner.init(4)["theta"]["conv1.weight"])
    assert torch.equal(
        state["theta"]["conv1.weight"], small_network().init(torch_generator(4, "theta"))["conv1.weight"]
    )


def test_step_sizes_are_learned_per_tensor_and_carried_into_cmaml() -> None:
    *_, last = states(dataclasses.replace(CONFIG, learn_step_sizes=True))
    warm = pretrain.warm_start(last)
    assert sorted(warm["m"]) == sorted(small_network().adaptable)
    assert len({float(v) for v in warm["m"].values()}) > 1
    for kind in ("cmaml", "cmaml-no-pap"):
        state = build(kind).init(0, warm)
        assert equal_states(state["m"], warm["m"])
        assert equal_states(state["adam"], warm["adam"])


def test_masks_start_afresh_on_a_pretrained_theta() -> None:
    """Step sizes are not masks: a method whose m has other shapes takes theta and its moments, and draws its own m."""
    *_, last = states(dataclasses.replace(CONFIG, learn_step_sizes=True))
    learner = build("sparse-cmaml")
    state, fresh = learner.init(0, pretrain.warm_start(last)), learner.init(0)
    assert torch.equal(state["theta"]["conv1.weight"], last["best"]["theta"]["conv1.weight"])
    assert int(state["adam"]["theta"]["t"]) > 0
    assert int(state["adam"]["m"]["t"]) == 0
    assert equal_states(state["m"], fresh["m"])


def test_head_alone_adapts_but_the_body_is_trained() -> None:
    config = dataclasses.replace(CONFIG, adapt="head", learn_step_sizes=True, epochs=1)
    before = pretrain.init(config, small_network(), seed=0)
    (after,) = states(config)
    assert sorted(after["m"]) == sorted(small_network().head)
    assert not torch.equal(after["theta"]["conv1.weight"], before["theta"]["conv1.weight"])


@pytest.mark.parametrize("kind", ["online-adam", "static-maml", "static-anil", "bgd", "metabgd", "metacog"])
def test_every_learner_takes_the_pretrained_weights(kind: str) -> None:
    *_, last = states(CONFIG)
    learner: Learner = build(kind)
    state = learner.init(1, pretrain.warm_start(last))
    weights = state["theta"] if "theta" in state else state["mu"]
    assert torch.equal(weights["conv3.weight"], last["best"]["theta"]["conv3.weight"])


@pytest.mark.parametrize("field", ["meta_batch", "inner_steps", "meta_batches_per_epoch", "outer_lr", "step_size"])
def test_bad_values_name_the_field(field: str) -> None:
    with pytest.raises(SpecError, match=f"{field} = 0"):
        dataclasses.replace(CONFIG, **{field: 0})
