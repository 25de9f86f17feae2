"""Chunks: every bit, type, shape and layout comes out again; 8 bits on the wire exactly where that is true."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from serving import WalkFeed, same
from torch import Tensor

from frisket.errors import DamagedChunk
from frisket.platform.streaming.chunk import Chunk, Item, Unpacked, pack
from frisket.rng import torch_generator

PIXELS = torch.arange(256, dtype=torch.uint8)


def round_trip(*items: Item) -> list[Item]:
    unpacked = Unpacked(pack(items, cursor=5))
    assert len(unpacked) == len(items)
    return [unpacked.item(5 + i) for i in range(len(items))]


def equal(a: Item, b: Item) -> bool:
    """As `same`, for items; a tuple comes back as a list."""
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and same(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(equal(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return isinstance(b, list) and len(a) == len(b) and all(equal(x, y) for x, y in zip(a, b, strict=True))
    return type(a) is type(b) and a == b


def test_nested_items_of_changing_structure_come_back() -> None:
    feed = WalkFeed(seed=3)
    items = [feed.item(position) for position in range(9)]
    assert all(equal(a, b) for a, b in zip(items, round_trip(*items), strict=True))


def test_json_values_keep_their_type() -> None:
    item = {"a": 1, "b": 1.0, "c": True, "d": None, "e": "ü", "f": [1, [2.5, "x"]], "g": {}, "h": []}
    (back,) = round_trip(item)
    assert equal(item, back)


@pytest.mark.parametrize(
    "dtype",
    [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int8, torch.uint8, torch.bool],
)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (0, 2), (2, 1, 3)])
def test_every_type_and_shape_comes_back(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    a = (torch.arange(math.prod(shape)).reshape(shape) * 1.5).to(dtype)
    b = (a.double() + 1).to(dtype)
    first, second = round_trip({"t": a}, {"t": b})
    assert same(first["t"], a)
    assert same(second["t"], b)


@pytest.mark.parametrize(
    "lay",
    [
        lambda t: t.permute(2, 0, 1),
        lambda t: t.transpose(0, 2),
        lambda t: t.contiguous().T.contiguous().T if t.ndim == 2 else t.flatten(1).T,
        lambda t: t[1:2],
    ],
)
def test_layout_in_memory_comes_back(lay: Callable[[Tensor], Tensor]) -> None:
    """A matrix product may round differently over another layout."""
    for whole in (torch.rand(2, 3, 4), PIXELS[:24].reshape(2, 3, 4).float() / 255):
        t = lay(whole)
        (back,) = round_trip({"t": t})
        assert same(back["t"], t)


def test_gaps_are_closed_and_values_kept() -> None:
    t = torch.rand(4, 6)[:, ::2]
    (back,) = round_trip({"t": t})
    assert back["t"].is_contiguous()
    assert torch.equal(back["t"], t)
    spread = torch.rand(3, 1).expand(3, 4)
    assert torch.equal(round_trip({"t": spread})[0]["t"], spread)


def test_tensors_that_need_a_gradient_are_served_without() -> None:
    (back,) = round_trip({"t": torch.ones(2, requires_grad=True)})
    assert same(back["t"], torch.ones(2))


@pytest.mark.parametrize(
    ("numbers", "coding"),
    [
        (PIXELS.float() / 255, "unit"),
        (PIXELS.float(), "pixel"),
        (torch.zeros(300), "unit"),
        (torch.rand(300, generator=torch.Generator().manual_seed(0)), "plain"),
        ((PIXELS.float() / 255 - 0.1) / 0.2752, "levels"),
        ((PIXELS[40:200].float() / 255 - 0.1) / 0.2752, "levels"),
        (torch.full((300,), 0.1234), "levels"),
        (torch.linspace(0, 1, 257), "plain"),
        (torch.cat([(PIXELS.float() / 255 - 0.1) / 0.2752, torch.tensor([0.1234])]), "plain"),
        (torch.cat([(PIXELS.float() / 255 - 0.1) / 0.2752, torch.tensor([math.nan])]), "plain"),
        (torch.cat([(PIXELS.float() / 255 - 0.1) / 0.2752, torch.tensor([1e30])]), "plain"),
        (torch.full((300,), math.nan), "plain"),
        (torch.full((300,), -0.0), "levels"),
        (torch.tensor([0.0, -0.0]), "plain"),
        (torch.tensor([0.0, 256.0]), "levels"),
        (torch.tensor([0.0, -1.0]), "levels"),
        (torch.tensor([0.5, math.inf]), "plain"),
        ((PIXELS.float() / 255).double(), "plain"),
        (torch.cat([torch.zeros(70_000), torch.tensor([0.1234])]), "plain"),
        (torch.cat([torch.zeros(70_000), PIXELS.float()]), "pixel"),
    ],
)
def test_eight_bits_exactly_where_they_are_all_there_is(numbers: Tensor, coding: str) -> None:
    chunk = pack([{"x": numbers}])
    coded = chunk.columns[0].coded
    assert coded.coding == coding
    assert coded.data.nbytes == numbers.numel() * (1 if coding != "plain" else numbers.element_size())
    assert same(Unpacked(chunk).item(0)["x"], numbers)


def test_channels_have_levels_of_their_own() -> None:
    """Pictures normalised channel by channel, in the usual order and in one where channels are not told apart."""
    pictures = torch.randint(0, 256, (6, 3, 8, 8), generator=torch_generator(0, "pictures")).float()
    scale = torch.tensor([0.2023, 0.1994, 0.2010])[:, None, None]
    x = (pictures / 255 - torch.tensor([0.4914, 0.4822, 0.4465])[:, None, None]) / scale
    items = [{"x": x[:2]}, {"x": x[2:4]}, {"x": x[4:]}]
    chunk = pack(items)
    assert chunk.columns[0].coded.coding == "levels"
    assert chunk.columns[0].coded.levels.shape == (3, 256)
    assert all(same(Unpacked(chunk).item(i)["x"], item["x"]) for i, item in enumerate(items))
    assert pack([{"x": x.permute(0, 2, 3, 1)}]).columns[0].coded.coding == "plain"


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=40), st.integers(0, 3))
def test_any_bits_come_back(words: list[int], pixels: int) -> None:
    """Whatever 32 bits a float has, NaN payloads and denormals included, mixed with pixels."""
    wild = torch.from_numpy(np.array(words, np.uint32).view(np.float32).copy())
    numbers = torch.cat([PIXELS.float() / 255, wild]) if pixels else wild
    (back,) = round_trip({"x": numbers})
    assert same(back["x"], numbers)


def test_items_own_their_tensors() -> None:
    unpacked = Unpacked(pack([{"x": PIXELS.float(), "y": torch.arange(3)}]))
    taken = unpacked.item(0)
    taken["x"].zero_()
    taken["y"].zero_()
    assert equal(unpacked.item(0), {"x": PIXELS.float(), "y": torch.arange(3)})


def test_digest_is_of_the_content() -> None:
    def digest(value: float, cursor: int = 7, name: str = "a", shape: tuple[int, ...] = (2, 3)) -> str:
        return pack([{name: torch.full(shape, value)}], cursor).digest

    assert digest(0.1) == digest(0.1)
    assert len({digest(0.1), digest(0.1, cursor=8), digest(0.2), digest(0.1, name="b"), digest(0.1, shape=(3, 2))}) == 5


def test_damage_is_seen() -> None:
    good: Any = pack([{"x": torch.rand(10)}])
    (column,) = good.columns
    data = column.coded.data.copy()
    data[3] ^= 1
    for bad in (
        good._replace(columns=(column._replace(coded=column.coded._replace(data=data)),)),
        good._replace(structure=good.structure.replace("x", "z")),
        good._replace(columns=(column._replace(layouts=(((5, 2), (2, 1)),)),)),
        good._replace(cursor=good.cursor + 1),
        good._replace(length=good.length + 1),
        good._replace(cursor="0"),
        good._replace(structure=None),
        good._replace(structure="\ud800"),
        good._replace(columns=None),
        good._replace(columns=(column[:3],)),
        good._replace(columns=(column._replace(coded=column.coded._replace(data=None)),)),
        good._replace(columns=(column._replace(coded=column.coded._replace(data=data.view(np.int8))),)),
        good._replace(columns=(column._replace(coded=column.coded._replace(data=data[::2])),)),
    ):
        with pytest.raises(DamagedChunk, match="does not have the content"):
            Unpacked(bad)


def test_many_equal_descriptions_are_written_once() -> None:
    task = {"domain": "mnist", "classes": list(range(100))}
    chunk = pack([{"x": torch.zeros(4), "task": task} for _ in range(200)])
    assert len(chunk.structure) < 600


@pytest.mark.parametrize(
    ("item", "says"),
    [
        ({"a": object()}, "object in an item"),
        ({"a": np.zeros(2)}, "ndarray in an item"),
        ({1: "x"}, "keys must be strings"),
        ({"$": 1}, "stands for tensors"),
    ],
)
def test_what_cannot_be_served_is_said(item: Item, says: str) -> None:
    with pytest.raises(TypeError, match=says):
        pack([item])


def test_empty_chunk() -> None:
    chunk = pack([], cursor=9)
    assert isinstance(chunk, Chunk)
    assert chunk.length == len(Unpacked(chunk)) == 0
    assert 9 not in Unpacked(chunk)
