"""PackNet and EfficientPackNet on an actor: what is protected keeps every bit (continual_world spec, C5 to C7)."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from frisket.algos.contract.toys import Line, line_batch, noise_task
from frisket.algos.kinds import LEARNERS
from frisket.algos.learners.robots.protecting import ProtectingRobotLearner
from frisket.algos.networks.layer_norm_mlp import LayerNormMLP, LayerNormMLPConfig
from frisket.algos.networks.powerprop import Powerprop
from frisket.algos.parts.tree import equal_states, map_tensors
from frisket.envs.robots.config import RobotsConfig
from frisket.envs.streams.robots import Robots
from frisket.errors import MaskError, SpecError
from frisket.types import Batch, Metrics, State

SHAPE = (3, 1, 1)
TASKS = 3
METHODS: dict[str, tuple[str, float, dict[str, Any]]] = {
    "packnet": ("sac-packnet", 1.0, {"tasks": TASKS}),
    "packnet clipped": ("sac-packnet", 1.0, {"tasks": TASKS, "clip": 0.01}),
    "epn": ("sac-epn", 1.0, {"gamma": 0.5}),
    "powerprop epn": ("sac-epn", 1.5, {"gamma": 0.5}),
    "epn from zero": ("sac-epn", 1.0, {"gamma": 0.5, "refill": "zero"}),
}
methods = pytest.mark.parametrize("name", list(METHODS))


def led(made: ProtectingRobotLearner, positions: range) -> tuple[State, Metrics]:
    """The state after the lines at ``positions``, and what the last one reported."""
    state, metrics = made.init(0), dict[str, float]()
    for position in positions:
        state, metrics = made.observe(state, line_batch(position, SHAPE))
    return state, metrics


def learner(name: str, **changes: Any) -> ProtectingRobotLearner:
    kind, alpha, fields = METHODS[name]
    row = LEARNERS[kind]
    network = LayerNormMLP(LayerNormMLPConfig(hidden=(24, 24)), inputs=3, ways=2)
    config = row.config(**{**row.quick, **fields, **changes})
    made = row.build(config, Powerprop(network, alpha) if alpha > 1 else network)
    assert isinstance(made, ProtectingRobotLearner)
    return made


def shown() -> torch.Tensor:
    return torch.linspace(-1, 1, 20)[:, None, None, None].expand(-1, *SHAPE)


def answers(made: ProtectingRobotLearner, state: State) -> list[torch.Tensor]:
    """What every ended task answers; also under the others' output layers."""
    found = []
    for start in made.starts(state):
        weights = made.weights_for(state, noise_task(start))
        heads = [made.tasks(state).own(t) for t in range(len(made.starts(state)))]
        found += [made.computes({**weights, **head}, shown()) for head in heads[: len(found) + 1]]
        assert torch.equal(made.computes(weights, shown()), made.predict(state, shown(), noise_task(start)))  # type: ignore[arg-type]
    return found


@methods
def test_c6_old_policies_keep_every_bit(name: str) -> None:
    made = learner(name)
    state, known = made.init(0), list[torch.Tensor]()
    for position in range(3 * TASKS):
        state, _ = made.observe(state, line_batch(position, SHAPE))
        found = answers(made, state)
        assert all(torch.equal(a, b) for a, b in zip(known, found, strict=False))
        known = found
    assert len(made.starts(state)) == TASKS


@methods
def test_c7_nothing_protected_moves_while_a_task_is_learned(name: str) -> None:
    made = learner(name)
    state = made.init(0)
    frozen = [k for k in state["theta"] if k not in made.network.kernels and k not in made.network.private]
    for position in range(3 * TASKS):
        before = map_tensors(torch.clone, {k: state[k] for k in ("theta", "free", "own")})
        state, _ = made.observe(state, line_batch(position, SHAPE))
        for k, free in before["free"].items():
            assert torch.equal(state["theta"][k][~free], before["theta"][k][~free])
            assert (position % 3 == 2) or not torch.equal(state["theta"][k][free], before["theta"][k][free])
        same = [torch.equal(state["theta"][k], before["theta"][k]) for k in frozen]
        assert all(same) == (position > 2)
        for k, own in before["own"].items():
            assert torch.equal(state["own"][k][: len(own)], own)


def test_c7_biases_are_frozen_before_the_first_retraining() -> None:
    states = []
    for steps in (0, 30):
        made = learner("packnet", retrain_steps=steps)
        state = made.init(0)
        for position in range(3):
            state, _ = made.observe(state, line_batch(position, SHAPE))
        states.append(state["theta"])
    for k in ("fc1.bias", "norm1.weight", "norm1.bias", "fc2.bias"):
        assert torch.equal(states[0][k], states[1][k])
    assert not torch.equal(states[0]["fc1.weight"], states[1]["fc1.weight"])


def test_c5_every_task_owns_its_share_of_every_kernel() -> None:
    made = learner("packnet")
    state, metrics = made.init(0), dict[str, float]()
    for position in range(3 * TASKS):
        state, metrics = made.observe(state, line_batch(position, SHAPE))
        if position % 3 == 2:
            done = position // 3 + 1
            for k, free in state["free"].items():
                assert abs(int((~free).sum()) - done * free.numel() / TASKS) <= 1, k
                assert not state["theta"][k][free].any()
    assert metrics["capacity_free"] == 0
    with pytest.raises(MaskError, match="no weight is left for task 3"):
        made.observe(state, line_batch(9, SHAPE))


def test_retraining_learns_from_the_memory_with_the_tasks_weights_alone() -> None:
    made = learner("packnet", retrain_steps=40)
    plain = learner("packnet", retrain_steps=0)
    states = [one.init(0) for one in (made, plain)]
    for position in range(3):
        states = [one.observe(s, line_batch(position, SHAPE))[0] for one, s in zip((made, plain), states, strict=True)]
    assert int(states[0]["updates"]) == int(states[1]["updates"]) + 40
    assert torch.equal(states[0]["store"], states[1]["store"])
    kept = [one.tasks(state).weights(0) for one, state in zip((made, plain), states, strict=True)]
    assert not torch.equal(kept[0]["fc2.weight"], kept[1]["fc2.weight"])
    assert equal_states({"m": kept[0]["fc2.weight"] != 0}, {"m": kept[1]["fc2.weight"] != 0})


def test_the_search_counts_its_steps_and_takes_the_fewest_that_pass() -> None:
    _, metrics = led(learner("epn", gamma=0.0, grid=(0.1, 0.5)), range(3))
    assert metrics["evaluations"] == 2
    assert metrics["search_steps"] == 3 * 2 * Line.environments * Line.horizon  # the whole actor and both masks
    assert metrics["kept"] == pytest.approx(0.1, abs=0.02)


def test_without_episodes_kept_back_the_search_says_so() -> None:
    made = learner("epn")
    state = made.init(0)
    last = line_batch(2, SHAPE)
    assert last.end is not None
    bare = Batch(
        last.x, last.y, 2, last.task, end=type(last.end)(1, last.end.batch, last.end.validation), world=last.world
    )
    with pytest.raises(SpecError, match=r"stream\.trials"):
        made.observe(state, bare)


def test_refill_zero_is_refused_where_weights_at_zero_never_move() -> None:
    with pytest.raises(SpecError, match="redraw"):
        learner("powerprop epn", refill="zero")


@pytest.mark.slow
def test_all_ten_tasks_of_continual_world_are_stepped_and_learned_from() -> None:
    made_stream = Robots(RobotsConfig(sequence="cw10", steps=200, trials=1), {}, 0)
    row, network = LEARNERS["sac-packnet"], LayerNormMLP(LayerNormMLPConfig(), inputs=39, ways=8)
    fields = {"tasks": 10, "start_steps": 50, "update_after": 0, "update_every": 100, "updates": 1, "retrain_steps": 0}
    made = row.build(row.config(**fields, memory_slots=200), network)
    assert isinstance(made, ProtectingRobotLearner)
    state, answered = made.init(0), list[torch.Tensor]()
    for position in range(made_stream.steps):
        batch = made_stream.batch(position)
        assert batch.task is not None
        state, metrics = made.observe(state, batch)
        if batch.world is not None:
            assert int(state["updates"]) == 2 * (len(answered) + 1)
            assert int(state["memory"]["pushed"]) == 200
            assert all(math.isfinite(v) for v in metrics.values())
        else:
            answered.append(made.predict(state, made_stream.batch(0).x, batch.task))  # type: ignore[arg-type]
    assert len(answered) == 10
    for task, expected in enumerate(answered):
        told = made_stream.batch(made_stream.start(task)).task
        assert torch.equal(made.predict(state, made_stream.batch(0).x, told), expected)  # type: ignore[arg-type]
