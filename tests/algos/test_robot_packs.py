"""Robot learners in a pack: what each of them learns alone, also where their episodes do not end together."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor

from frisket.algos.contract.toys import Line, line_batch
from frisket.algos.kinds import LEARNERS
from frisket.algos.learners.robots import pack
from frisket.algos.learners.robots.learner import RobotLearner
from frisket.algos.networks.layer_norm_mlp import LayerNormMLP, LayerNormMLPConfig
from frisket.algos.networks.powerprop import Powerprop
from frisket.algos.parts.tree import flatten, map_tensors
from frisket.errors import SpecError
from frisket.types import Batch, State, Stepped

SHAPE = (3, 1, 1)
REPLICAS = 3
METHODS: dict[str, tuple[str, float, dict[str, Any]]] = {
    "sac": ("sac", 1.0, {}),
    "clipped": ("sac", 1.0, {"clip": 0.01}),
    "single": ("sac-single", 1.0, {}),
    "ewc": ("sac-ewc", 1.0, {}),
    "packnet": ("sac-packnet", 1.0, {}),
    "powerprop epn clipped": ("sac-epn", 1.5, {"gamma": 0.5, "clip": 0.01}),
}


class Left(Line):
    """A `Line` whose first points leave after their first step, ``gone`` of them."""

    def __init__(self, number: int, gone: int) -> None:
        super().__init__(number, SHAPE, torch.float64)
        self._gone, self._taken = gone, 0

    def reset(self) -> Tensor:
        self._taken = 0
        return super().reset()

    def step(self, actions: Tensor) -> Stepped:
        seen, reward, terminated, success, _ = super().step(actions)
        live = (torch.arange(self.environments) >= self._gone) | (self._taken == 0)
        self._taken += 1
        return Stepped(seen, reward, terminated, success, live)


def shown(position: int, replica: int, leaving: bool) -> Batch:
    """What a replica has at ``position``: all have the same tasks, and lines of their own."""
    batch, number = line_batch(position, SHAPE, of=replica, dtype=torch.float64), 100 * replica + position
    return dataclasses.replace(batch, world=Left(number, number % 3 + 1)) if leaving else batch


def learner(name: str, **changes: Any) -> RobotLearner:
    kind, alpha, fields = METHODS[name]
    row = LEARNERS[kind]
    network = LayerNormMLP(LayerNormMLPConfig(hidden=(12, 12)), inputs=3, ways=2)
    config = row.config(**{**row.quick, **fields, **changes})
    made = row.build(config, Powerprop(network, alpha) if alpha > 1 else network)
    assert isinstance(made, RobotLearner)
    return made


def double(state: State) -> State:
    return map_tensors(lambda t: t.double() if t.is_floating_point() else t.clone(), state)


@pytest.mark.parametrize(("together", "leaving"), [(2, False), (REPLICAS, True)])
@pytest.mark.parametrize("name", list(METHODS))
def test_a_pack_is_its_replicas_over_three_tasks(
    monkeypatch: pytest.MonkeyPatch, name: str, together: int, leaving: bool
) -> None:
    """However many of them update as one."""
    monkeypatch.setattr(pack, "TOGETHER", together)
    made = [learner(name, log_eta=0.3 * i) for i in range(REPLICAS)]
    alone = [double(one.init(i)) for i, one in enumerate(made)]
    packed = made[0].pack(made[1:])
    state = packed.join([double(one) for one in alone])
    apart = set[int]()
    for position in range(9):
        batches = [shown(position, i, leaving) for i in range(REPLICAS)]
        state, found = packed.observe(state, batches)
        apart.add(len(set(state["acted"].tolist())))
        for i, one in enumerate(made):
            alone[i], metrics = one.observe(alone[i], shown(position, i, leaving))
            assert found[i] == pytest.approx(metrics, rel=1e-5, abs=1e-7)
    assert (max(apart) > 1) == leaving  # else nobody was out of step
    for i, by_itself in enumerate(alone):
        mine, own = flatten(packed.replica(state, i)), flatten(by_itself)
        assert mine.keys() == own.keys()
        for k, value in own.items():
            assert mine[k].dtype == value.dtype
            assert torch.allclose(mine[k].double(), value.double(), rtol=1e-7, atol=1e-9), k


def test_a_pack_of_one_is_the_learner_itself() -> None:
    made = learner("sac")
    assert made.pack([]).join([state := made.init(0)]) is state


def test_memories_that_have_no_room_together_are_refused() -> None:
    made = learner("sac", memory_slots=10**8)
    with pytest.raises(SpecError, match=r"memory_slots = .*for the 1000 replicas of a pack"):
        made.pack([made] * 999)
