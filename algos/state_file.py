"""A learner's State in one safetensors file, sealed and written atomically: the form of checkpoints and of registered
models. The metadata hold the digest of all else in the file: tensors, their order, types and shapes, and what was said
with them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from frisket.algos.parts.tree import SEPARATOR, flatten, unflatten
from frisket.errors import FileError
from frisket.files import NOT_AS_SEALED, NOT_SEALED, SEAL, replacing, sha256_of_parts
from frisket.types import State

_EMPTY = "frisket.empty"
_ORDER = "frisket.order"


def save_state(path: Path, state: State, metadata: Mapping[str, str], *, before: Path | None = None) -> None:
    """Write ``state`` and ``metadata`` to ``path``: a kill at any moment leaves the old file or the new one, whole;
    ``before`` as in `frisket.files.replacing`."""
    from safetensors.torch import save_file

    tensors = _apart({k: v.detach().cpu().contiguous() for k, v in flatten(state).items()})
    about = {**metadata, _EMPTY: json.dumps(_empty_nodes(state)), _ORDER: json.dumps(list(tensors))}
    with replacing(path, before=before) as part:
        save_file(tensors, part, metadata={**about, SEAL: _digest(tensors, about)})


def load_state(path: Path) -> tuple[State, dict[str, str]]:
    """``(state, metadata)`` of a file written by `save_state`, on the CPU.

    Raises:
        FileError: not such a file, or not what was written.
        OSError: it is not there, or cannot be read.
    """
    from safetensors import safe_open

    flat: dict[str, Tensor] = {}
    with _damage(path), safe_open(str(path), framework="pt") as file:
        metadata: dict[str, str] = file.metadata() or {}
        if SEAL not in metadata:
            raise FileError("state file", str(path), NOT_SEALED)
        seal = metadata.pop(SEAL)
        # In the order in which they were saved, not the file's: a sum over tensors (a norm) rounds by it.
        for name in json.loads(metadata[_ORDER]):
            # Cloned into memory aligned as the allocator aligns it: matrix products round differently on the file's odd
            # addresses, and a resumed run would drift from one that was never stopped.
            flat[name] = file.get_tensor(name).clone()
        if seal != _digest(flat, metadata):
            raise FileError("state file", str(path), NOT_AS_SEALED)
    del metadata[_ORDER]
    state = unflatten(flat)
    for name in json.loads(metadata.pop(_EMPTY)):
        node: dict[str, Any] = state
        for key in name.split(SEPARATOR):
            node = node.setdefault(key, {})
    return state, metadata


def _digest(tensors: Mapping[str, Tensor], about: Mapping[str, str]) -> str:
    """Of the tensors, contiguous and on the CPU, and of what is said with them."""
    described = {name: [str(tensor.dtype), list(tensor.shape)] for name, tensor in tensors.items()}
    parts = {name: tensor.reshape(-1).view(torch.uint8).numpy() for name, tensor in tensors.items()}
    return sha256_of_parts(json.dumps([about, described], sort_keys=True), parts)


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    """Turn whatever a file that is no whole state file provokes into a `FileError`."""
    from safetensors import SafetensorError

    if path.exists() and not path.is_file():
        raise FileError("state file", str(path), "is no regular file")
    try:
        yield
    except FileError:
        raise
    except (SafetensorError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise FileError("state file", str(path), f"is damaged ({type(error).__name__}: {error})") from error


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
