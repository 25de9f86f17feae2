"""States on disk: what may share storage, and what writing takes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from frisket.algos.parts.tree import flatten
from frisket.algos.state_file import load_state, save_state


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
