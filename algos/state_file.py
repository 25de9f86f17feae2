"""A learner's State in one safetensors file, written atomically: the form of checkpoints and of registered models."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from frisket.algos.parts.tree import SEPARATOR, flatten, unflatten
from frisket.files import replacing
from frisket.types import State

_EMPTY = "frisket.empty"
_ORDER = "frisket.order"


def save_state(path: Path, state: State, metadata: Mapping[str, str]) -> None:
    """Write ``state`` and ``metadata`` to ``path``: a kill at any moment leaves the old file or the new one, whole."""
    from safetensors.torch import save_file

    tensors = _apart({k: v.detach().cpu().contiguous() for k, v in flatten(state).items()})
    structure = {_EMPTY: json.dumps(_empty_nodes(state)), _ORDER: json.dumps(list(tensors))}
    with replacing(path) as part:
        save_file(tensors, part, metadata={**metadata, **structure})


def load_state(path: Path) -> tuple[State, dict[str, str]]:
    """``(state, metadata)`` of a file written by `save_state`, on the CPU.

    Raises:
        safetensors.SafetensorError, OSError, KeyError: not such a file, or damaged.
    """
    from safetensors import safe_open

    flat: dict[str, Tensor] = {}
    with safe_open(str(path), framework="pt") as file:
        metadata: dict[str, str] = file.metadata() or {}
        # In the order in which they were saved, not the file's: a sum over tensors (a norm) rounds by it.
        for name in json.loads(metadata.pop(_ORDER)):
            # Cloned into memory aligned as the allocator aligns it: matrix products round differently on the file's odd
            # addresses, and a resumed run would drift from one that was never stopped.
            flat[name] = file.get_tensor(name).clone()
    state = unflatten(flat)
    for name in json.loads(metadata.pop(_EMPTY)):
        node: dict[str, Any] = state
        for key in name.split(SEPARATOR):
            node = node.setdefault(key, {})
    return state, metadata


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata of a file written by `save_state`, without its tensors."""
    from safetensors import safe_open

    with safe_open(str(path), framework="pt") as file:
        return file.metadata() or {}


def _apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """``tensors``, those cloned whose storage is an earlier one's (phi starts as theta), which the format refuses; the
    others are written from where they lie, so that a checkpoint takes no memory."""
    seen, apart = set[int](), dict[str, Tensor]()
    for name, tensor in tensors.items():
        place = tensor.untyped_storage().data_ptr()
        apart[name] = tensor.clone() if place in seen else tensor
        seen.add(place)
    return apart


def _empty_nodes(state: Mapping[str, Any], prefix: str = "") -> list[str]:
    names: list[str] = []
    for key, value in state.items():
        if isinstance(value, Mapping):
            names += _empty_nodes(value, f"{prefix}{key}{SEPARATOR}") if value else [f"{prefix}{key}"]
    return names
