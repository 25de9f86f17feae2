"""`in_parts`: a large pack learns some replicas at a time, into the storage its state has."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from toys import build

from frisket.algos.contract.toys import noise_batch
from frisket.algos.learners.replay import pack as plain_pack
from frisket.algos.pack import in_parts
from frisket.algos.parts.tree import flatten
from frisket.types import Batch, Metrics, State


def counted(replicas: int) -> State:
    """Numbered replicas with an empty memory."""
    return {"w": torch.arange(replicas), "memory": {"x": torch.zeros(replicas, 0), "age": torch.zeros(replicas)}}


def learn(state: State, batches: Sequence[Batch], part: slice) -> tuple[State, list[Metrics]]:
    """Ten times the weight; the memory gets two slots, the first sample's, then another age in place."""
    x, age = state["memory"]["x"], state["memory"]["age"]
    if not x.shape[1]:
        x = state["w"][:, None].repeat(1, 2).float()
    age += 1
    measured = [{"position": float(batch.position)} for batch in batches]
    return {"w": 10 * state["w"], "memory": {"x": x, "age": age}}, measured


def test_parts_are_put_together_in_the_storage_there_is() -> None:
    state, batches = counted(7), [noise_batch(i) for i in range(7)]
    parts: list[slice] = []

    def seen(state: State, batches: Sequence[Batch], part: slice) -> tuple[State, list[Metrics]]:
        parts.append(part)
        return learn(state, batches, part)

    after, metrics = in_parts(state, batches, seen, 3)
    assert parts == [slice(0, 3), slice(3, 6), slice(6, 7)]
    assert [one["position"] for one in metrics] == list(range(7))
    assert after["w"].tolist() == [0, 10, 20, 30, 40, 50, 60]
    assert after["memory"]["x"].tolist() == [[i, i] for i in range(7)]
    assert after["w"] is state["w"]
    assert after["memory"]["age"] is state["memory"]["age"]
    assert after["memory"]["age"].tolist() == [1] * 7

    again, _ = in_parts(after, batches, learn, 3)
    assert all(v is flatten(after)[k] for k, v in flatten(again).items()), "nothing is allocated any more"
    assert again["w"].tolist() == [0, 100, 200, 300, 400, 500, 600]


def test_a_single_part_is_not_copied() -> None:
    batches = [noise_batch(i) for i in range(3)]
    for together in (3, None):
        state = counted(3)
        after, _ = in_parts(state, batches, learn, together)
        assert after["w"] is not state["w"]
        assert state["w"].tolist() == [0, 1, 2]
        assert after["w"].tolist() == [0, 10, 20]


def test_a_large_pack_of_baselines_is_its_replicas() -> None:
    learners = [build("er") for _ in range(plain_pack.TOGETHER + 2)]
    starts = [one.init(i) for i, one in enumerate(learners)]
    pack = learners[0].pack(learners[1:])
    joined, batches = pack.join(starts), [noise_batch(i) for i in range(len(learners))]
    state, metrics = pack.observe(joined, batches)
    assert all(v.data_ptr() == joined["theta"][k].data_ptr() for k, v in state["theta"].items())
    for i in (0, plain_pack.TOGETHER - 1, plain_pack.TOGETHER, plain_pack.TOGETHER + 1):
        alone, measured = learners[i].observe(starts[i], batches[i])
        ours = flatten(pack.replica(state, i))
        assert all(torch.allclose(v, ours[k], atol=1e-6) for k, v in flatten(alone).items())
        assert abs(metrics[i]["outer_loss"] - measured["outer_loss"]) < 1e-5
