"""MaskStore: one bit per weight and task, capacity by hand, and what a damaged file answers (fact P8)."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import torch
from test_masks import random_masks

from frisket.algos.masks.mask_set import MaskSet
from frisket.algos.masks.store import MaskStore
from frisket.errors import MaskError


def store_of(*rows: list[int]) -> MaskStore:
    store = MaskStore({"a": (2, 2), "b": (len(rows[0]) - 4,)})
    for row in rows:
        flat = torch.tensor(row, dtype=torch.bool)
        store = store.appended({"a": flat[:4].view(2, 2), "b": flat[4:]})
    return store


HAND = store_of([1, 1, 0, 0, 0], [1, 0, 1, 0, 0], [1, 1, 1, 0, 0])


@pytest.mark.parametrize("count", [1, 7, 8, 9, 33])
def test_p8_round_trip_and_size(count: int, tmp_path: Path) -> None:
    sets = [random_masks(k, {"w": (3, count), "v": (5,)}) for k in range(4)]
    store = MaskStore({"w": (3, count), "v": (5,)})
    for one in sets:
        store = store.appended(one)
    assert store.bits.shape == (4, -(-(3 * count + 5) // 8))
    again = MaskStore.load(store.save(tmp_path / "store.safetensors"))
    assert again.shapes == store.shapes
    assert list(again) == list(store) == sets
    assert [p.name for p in tmp_path.iterdir()] == ["store.safetensors"]


def test_empty_store_round_trip(tmp_path: Path) -> None:
    again = MaskStore.load(MaskStore({"w": (3,)}).save(tmp_path / "s"))
    assert (len(again), again.size, list(again)) == (0, 3, [])
    assert not again.union()["w"].any()


def test_reading_by_index() -> None:
    assert (
        HAND[0] == HAND[-3] == MaskSet({"a": torch.tensor([[True, True], [False, False]]), "b": torch.tensor([False])})
    )
    assert list(HAND[1:]) == [HAND[1], HAND[2]]
    with pytest.raises(IndexError):
        HAND[3]


def test_counts_by_hand() -> None:
    counts = HAND.counts()
    assert {k: v.tolist() for k, v in counts.items()} == {"a": [2, 2, 3], "b": [0, 0, 0]}
    assert {k: v.tolist() for k, v in MaskStore({"w": (3,)}).counts().items()} == {"w": []}


def test_capacity_by_hand() -> None:
    """Masks {0, 1}, {0, 2}, {0, 1, 2} of 5: weight 0 is everybody's, 1 and 2 are used twice, 3 and 4 are free."""
    found = HAND.capacity()
    assert found.kept.tolist() == pytest.approx([0.4, 0.4, 0.6])
    assert found.free.tolist() == pytest.approx([0.6, 0.4, 0.4])
    assert found.reused.tolist() == pytest.approx([0.0, 0.5, 1.0])
    assert found.exclusive.tolist() == [0, 0, 0]
    assert found.overlap.tolist() == [
        pytest.approx([1, 1 / 3, 2 / 3]), pytest.approx([1 / 3, 1, 2 / 3]), pytest.approx([2 / 3, 2 / 3, 1])
    ]  # fmt: skip
    assert HAND[:2].capacity().exclusive.tolist() == [1, 1]


def test_capacity_agrees_with_mask_sets() -> None:
    shapes = {"w": (13, 17), "v": (9,)}
    sets = [random_masks(k, shapes) for k in range(5)]
    store = MaskStore(shapes)
    for one in sets:
        store = store.appended(one)
    found, used = store.capacity(), sets[0]
    for t, one in enumerate(sets):
        others = [other for i, other in enumerate(sets) if i != t]
        elsewhere = others[0] | others[1] | others[2] | others[3]
        assert found.exclusive[t] == sum(int(m.sum()) for m in (one - elsewhere).values())
        assert found.overlap[t].tolist() == pytest.approx([one.overlap(other) for other in sets])
        used = used | one
        assert found.free[t] == pytest.approx(used.sparsity())
    assert MaskSet(store.union()) == used


def test_two_empty_masks_overlap_wholly() -> None:
    found = store_of([0, 0, 0, 0, 0], [0, 0, 0, 0, 0]).capacity()
    assert found.overlap.tolist() == [[1.0, 1.0], [1.0, 1.0]]
    assert found.reused.tolist() == [0.0, 0.0]


def test_one_bit_per_weight_on_disk(tmp_path: Path) -> None:
    shapes = {"fc1.weight": (1000, 200), "fc3.weight": (10, 100)}
    store = MaskStore(shapes, torch.zeros(20, 201_000 // 8, dtype=torch.uint8))
    size = store.save(tmp_path / "s").stat().st_size
    assert 20 * 201_000 / 8 <= size <= 1.02 * 20 * 201_000 / 8


def test_switching_in_a_large_store_is_quick() -> None:
    """300 tasks, two million weights: the target is 50 ms, the best of five counts on a busy machine."""
    shapes = {"fc1.weight": (1000, 1024), "fc2.weight": (1000, 1000), "fc3.weight": (10, 1000)}
    store = MaskStore(shapes, torch.zeros(300, 2_034_000 // 8, dtype=torch.uint8))
    times = []
    for t in range(5):
        begin = time.perf_counter()
        store.masks(60 * t)
        times.append(time.perf_counter() - begin)
    assert min(times) < 0.05


@pytest.mark.parametrize(
    "masks",
    [
        {"a": torch.ones(2, 2, dtype=torch.bool)},
        {"a": torch.ones(2, 3, dtype=torch.bool), "b": torch.ones(1, dtype=torch.bool)},
        {"a": torch.ones(2, 2), "b": torch.ones(1)},
    ],
)
def test_masks_of_another_network_are_refused(masks: dict[str, torch.Tensor]) -> None:
    with pytest.raises(MaskError):
        HAND.appended(masks)
    assert len(HAND) == 3


def test_bits_of_another_network_are_refused() -> None:
    with pytest.raises(MaskError, match="for a network of 5 weights"):
        MaskStore(HAND.shapes, torch.zeros(2, 2, dtype=torch.uint8))


def damage_tail(raw: bytes) -> bytes:
    return raw[:-2]


def damage_head(raw: bytes) -> bytes:
    return b"\x00" * 8 + raw[8:]


def damage_shape(raw: bytes) -> bytes:
    return raw.replace(b"[2, 2]", b"[9, 9]")


def damage_bit(raw: bytes) -> bytes:
    return raw[:-1] + bytes([raw[-1] ^ 1])


@pytest.mark.parametrize("damage", [damage_tail, damage_head, damage_shape, damage_bit])
def test_damaged_files_are_refused_and_left_alone(damage: object, tmp_path: Path) -> None:
    path = HAND.save(tmp_path / "s")
    broken = damage(path.read_bytes())  # type: ignore[operator]
    path.write_bytes(broken)
    with pytest.raises(MaskError, match="damaged"):
        MaskStore.load(path)
    assert path.read_bytes() == broken


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MaskError, match="no such file"):
        MaskStore.load(tmp_path / "none")
    with pytest.raises(MaskError, match="not a store of masks"):
        MaskStore.load(HAND[0].save(tmp_path / "set"))
    (tmp_path / "text").write_text("hello")
    with pytest.raises(MaskError, match="damaged"):
        MaskStore.load(tmp_path / "text")


def test_bits_are_those_of_numpy() -> None:
    assert (
        HAND.bits.numpy().tolist()
        == np.packbits([[1, 1, 0, 0, 0], [1, 0, 1, 0, 0], [1, 1, 1, 0, 0]], axis=1, bitorder="little").tolist()
    )
