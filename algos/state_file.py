"""A learner's State in one safetensors file, sealed and written atomically: the form of checkpoints and of registered
models. The metadata hold the digest of all else in the file: tensors, their order, types and shapes, and what was said
with them.

Where there are `frisket.blocks.Blocks` for it, a large tensor (`LARGE`) is put there, and the file says which blocks it
is: so a checkpoint writes what has changed of a replay memory. Other tensors are written anew every time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from frisket.algos.parts.tree import SEPARATOR, flatten, unflatten
from frisket.blocks import Blocks
from frisket.errors import FileError
from frisket.files import NOT_AS_SEALED, NOT_SEALED, SEAL, replacing, sha256_of_parts
from frisket.types import State

_EMPTY = "frisket.empty"
_ORDER = "frisket.order"
_BLOCKS = "frisket.blocks"

LARGE = 2**23
"""Bytes from which on a tensor is put into blocks."""


def save_state(
    path: Path, state: State, metadata: Mapping[str, str], *, before: Path | None = None, blocks: Blocks | None = None
) -> None:
    """Write ``state`` and ``metadata`` to ``path``: a kill at any moment leaves the old file or the new one, whole.

    Args:
        path, before: as in `frisket.files.replacing`.
        state: tensors.
        metadata: read again with them.
        blocks: where large tensors are put; what neither ``path`` nor ``before`` is made of goes from there. None:
            everything is in ``path``.
    """
    from safetensors.torch import save_file

    tensors = _apart({k: v.detach().cpu().contiguous() for k, v in flatten(state).items()})
    about = {**metadata, _EMPTY: json.dumps(_empty_nodes(state)), _ORDER: json.dumps(list(tensors))}
    named: list[str] = []
    if blocks is not None:
        large = {k: v for k, v in tensors.items() if v.nbytes >= LARGE}
        tensors = {k: v for k, v in tensors.items() if k not in large}
        kept = {k: [_dtype(v), list(v.shape), blocks.put(_bytes(v))] for k, v in large.items()}
        about[_BLOCKS] = json.dumps(kept)
        named = [name for _, _, names in kept.values() for name in names]
    with replacing(path, before=before) as part:
        save_file(tensors, part, metadata={**about, SEAL: _digest(tensors, about)})
    if blocks is not None:
        blocks.keep(named if before is None else [*named, *_blocks_of(before)])


def load_state(path: Path, *, blocks: Blocks | None = None) -> tuple[State, dict[str, str]]:
    """``(state, metadata)`` of a file written by `save_state`, on the CPU.

    Args:
        path: the file.
        blocks: where its large tensors are, if they were put into blocks.

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
        apart: dict[str, Any] = json.loads(metadata.get(_BLOCKS, "{}"))
        # In the order in which they were saved, not the file's: a sum over tensors (a norm) rounds by it.
        for name in json.loads(metadata[_ORDER]):
            # Cloned into memory aligned as the allocator aligns it: matrix products round differently on the file's odd
            # addresses, and a resumed run would drift from one that was never stopped.
            flat[name] = torch.empty(0) if name in apart else file.get_tensor(name).clone()
        if seal != _digest({k: v for k, v in flat.items() if k not in apart}, metadata):
            raise FileError("state file", str(path), NOT_AS_SEALED)
        if apart and blocks is None:
            raise FileError("state file", str(path), "has tensors in blocks, which are not beside it")
        for name, (dtype, shape, names) in apart.items():
            assert blocks is not None
            flat[name] = torch.empty(shape, dtype=getattr(torch, dtype))
            blocks.get(names, _bytes(flat[name]))
    del metadata[_ORDER]
    metadata.pop(_BLOCKS, None)
    state = unflatten(flat)
    for name in json.loads(metadata.pop(_EMPTY)):
        node: dict[str, Any] = state
        for key in name.split(SEPARATOR):
            node = node.setdefault(key, {})
    return state, metadata


def _digest(tensors: Mapping[str, Tensor], about: Mapping[str, str]) -> str:
    """Of the tensors, contiguous and on the CPU, and of what is said with them."""
    described = {name: [str(tensor.dtype), list(tensor.shape)] for name, tensor in tensors.items()}
    parts = {name: _bytes(tensor) for name, tensor in tensors.items()}
    return sha256_of_parts(json.dumps([about, described], sort_keys=True), parts)


def _blocks_of(path: Path) -> list[str]:
    """Names of the blocks that a state file refers to; none of one that is not there, or is damaged."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            found = json.loads((file.metadata() or {}).get(_BLOCKS, "{}"))
    except (OSError, SafetensorError, ValueError):
        return []
    return [name for _, _, names in found.values() for name in names]


def _bytes(tensor: Tensor) -> Any:
    """Of a tensor that is contiguous and on the CPU; they share its storage."""
    return tensor.reshape(-1).view(torch.uint8).numpy()


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


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
