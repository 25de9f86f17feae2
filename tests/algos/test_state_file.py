"""States on disk: what may share storage, and what writing takes."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from frisket.algos import state_file
from frisket.algos.parts import transitions
from frisket.algos.parts.tree import equal_states, flatten
from frisket.algos.state_file import load_state, save_state
from frisket.blocks import Blocks
from frisket.errors import FileError
from frisket.rng import torch_generator
from frisket.types import State


class Allocated(TorchDispatchMode):
    """Bytes of all storage that operations made within it, views not counted."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        if isinstance(made, torch.Tensor) and all(
            not isinstance(a, torch.Tensor) or a.untyped_storage().data_ptr() != made.untyped_storage().data_ptr()
            for a in args
        ):
            self.bytes += made.untyped_storage().nbytes()
        return made


def test_tensors_that_share_storage_come_back_as_they_were(tmp_path: Path) -> None:
    whole = torch.arange(12.0).view(3, 4)
    state = {"theta": {"w": whole}, "phi": {"w": whole, "row": whole[1]}, "turned": whole.T, "none": {}}
    save_state(tmp_path / "a", state, {"about": "it"})
    found, metadata = load_state(tmp_path / "a")
    assert metadata == {"about": "it"}
    assert found["none"] == {}
    assert flatten(found).keys() == flatten(state).keys()
    assert all(torch.equal(v, flatten(found)[k]) for k, v in flatten(state).items())


def test_a_state_is_written_from_where_it_lies(tmp_path: Path) -> None:
    """No copy but of what shares storage: here of the second name of ``w``."""
    w, m = torch.ones(5, 100), torch.ones(5, 300)
    with Allocated() as allocated:
        save_state(tmp_path / "a", {"theta": w, "m": m, "one": m.new_zeros(5, 1)[2]}, {})
    assert allocated.bytes <= 5 * 4, "the zeros above"
    with Allocated() as allocated:
        save_state(tmp_path / "b", {"theta": w, "phi": w, "m": m}, {})
    assert allocated.bytes == w.nbytes


def test_a_state_comes_back_in_its_own_order(tmp_path: Path) -> None:
    """Sums over its tensors round by their order."""
    names = ("fc2.weight", "fc1.weight", "fc1.bias", "a")
    state = {"z": {name: torch.full((2,), i) for i, name in enumerate(names)}, "step": torch.tensor(1)}
    save_state(tmp_path / "s.safetensors", state, {"kind": "x"})
    back, metadata = load_state(tmp_path / "s.safetensors")
    assert list(back) == ["z", "step"]
    assert list(back["z"]) == list(names)
    assert [int(v[0]) for v in back["z"].values()] == [0, 1, 2, 3]
    assert metadata == {"kind": "x"}


def memory(filled: int) -> State:
    """Three mebibytes and a half of large tensors, ``filled`` of their rows not 0; and a small tensor."""
    rows = torch.zeros(7 * 2**13, 16)
    rows[:filled] = torch.arange(filled)[:, None]
    return {"small": torch.tensor([filled]), "memory": {"rows": rows}, "after": torch.ones(3)}


@pytest.fixture
def blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Blocks:
    monkeypatch.setattr(state_file, "LARGE", 2**20)
    return Blocks(tmp_path / "a.blocks")


def test_of_a_large_tensor_what_is_new_is_written(tmp_path: Path, blocks: Blocks) -> None:
    path, before = tmp_path / "a", tmp_path / "b"
    written = list[float]()
    for filled in (0, 100, 100, 2**14 + 100):
        start = blocks.written
        save_state(path, memory(filled), {"filled": str(filled)}, before=before, blocks=blocks)
        written.append((blocks.written - start) / 2**20)
        found, metadata = load_state(path, blocks=blocks)
        assert metadata == {"filled": str(filled)}
        assert equal_states(found, memory(filled))
        assert list(found) == list(memory(filled))
    assert written == [1.5, 1, 0, 2]  # of 3.5: equal blocks are one; the last is half a block
    assert equal_states(load_state(before, blocks=blocks)[0], memory(100))
    named = {name for one in (path, before) for name in state_file._blocks_of(one)}
    assert {one.name for one in blocks.folder.iterdir()} == named
    blocks.keep(())
    assert not blocks.folder.exists()


@pytest.mark.parametrize("harm", ["gone", "changed", "cut"])
def test_a_harmed_block_is_named(tmp_path: Path, blocks: Blocks, harm: str) -> None:
    save_state(tmp_path / "a", memory(9), {}, blocks=blocks)
    one = min(blocks.folder.iterdir())
    content = one.read_bytes()
    one.unlink() if harm == "gone" else one.write_bytes(b"x" + content[1:] if harm == "changed" else content[:-1])
    with pytest.raises(FileError, match=one.name):
        load_state(tmp_path / "a", blocks=blocks)
    with pytest.raises(FileError, match="not beside it"):
        load_state(tmp_path / "a")


@pytest.mark.parametrize("died_at", range(4))
def test_a_death_at_any_file_leaves_the_one_before_whole(
    tmp_path: Path, blocks: Blocks, died_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a"
    save_state(path, memory(5), {}, blocks=blocks)
    replace, left = os.replace, iter(range(died_at))

    def dying(*paths: Any) -> None:
        if next(left, None) is None:
            raise KeyboardInterrupt
        replace(*paths)

    monkeypatch.setattr(os, "replace", dying)
    with pytest.raises(KeyboardInterrupt):
        save_state(path, memory(2**14 + 2**14 + 6), {}, blocks=blocks)
    monkeypatch.setattr(os, "replace", replace)
    assert equal_states(load_state(path, blocks=blocks)[0], memory(5))
    save_state(path, memory(7), {}, blocks=blocks)
    assert equal_states(load_state(path, blocks=blocks)[0], memory(7))
    assert {one.name for one in blocks.folder.iterdir()} == set(state_file._blocks_of(path))


@pytest.mark.slow
def test_a_checkpoint_during_a_million_transitions(tmp_path: Path) -> None:
    """Under two seconds of this process's time, and a few mebibytes of 336."""
    kept, blocks = transitions.empty(1_000_000, (39, 1, 1), 4), Blocks(tmp_path / "a.blocks")
    draws = torch_generator(0)

    def pushed(count: int) -> tuple[float, float]:
        shapes = ((39, 1, 1), (39, 1, 1), (4,), (1,), (1,))
        transitions.push(kept, *(torch.randn(count, *shape, generator=draws) for shape in shapes))
        start, written = time.process_time(), blocks.written
        save_state(tmp_path / "a", {"memory": kept}, {}, before=tmp_path / "b", blocks=blocks)
        return time.process_time() - start, (blocks.written - written) / 2**20

    for _ in range(9):
        pushed(100_000)
    seconds, written = pushed(3000)
    assert seconds < 2
    assert written < 8
    assert equal_states(load_state(tmp_path / "a", blocks=blocks)[0], {"memory": kept})
