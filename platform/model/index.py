"""The index of a model's folder, ``model.json``: what is in it, and how it is known to be whole."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from frisket.errors import ModelError
from frisket.files import read_sealed, sha256_of, write_sealed
from frisket.platform.specs.build import Inputs

FORMAT = "frisket-model/2"
INDEX = "model.json"
_MOST = 2**24
"""Labels, and numbers of one input, that a model is believed to have."""


def state_file(key: str) -> str:
    """Where the state of a replica is, below the model's folder."""
    return f"replicas/{key}/state.safetensors"


def domains_file(key: str) -> str:
    """Where the masks of a replica's domains are, if it has some."""
    return f"replicas/{key}/domains.safetensors"


def write_index(path: Path, replicas: Mapping[str, Any]) -> None:
    """Write the index of all that lies in the model folder ``path``. ``replicas``: inputs of each, by key."""
    files = sorted(p.relative_to(path).as_posix() for p in path.rglob("*") if p.is_file() and p != path / INDEX)
    digests = {name: sha256_of(path / name) for name in files}
    write_sealed(path / INDEX, {"format": FORMAT, "replicas": dict(replicas), "files": digests})


class Index(NamedTuple):
    """What a model's index says. Attributes: inputs: of every replica by key; files: all there are, by name."""

    inputs: dict[str, Inputs]
    files: frozenset[str]


def verified(path: Path, needed: Sequence[str]) -> Index:
    """The index of the model folder ``path``, once every file of it is known to be what its index says. Nothing else
    is read before the index makes sense as a whole.

    Args:
        path: the folder.
        needed: files it must have beside the replicas' states.

    Raises:
        ModelError: it is damaged, or of another format.
        FileError, OSError, KeyError, TypeError, ValueError, AttributeError: so is the index.
    """
    index = read_sealed(path / INDEX)
    if index["format"] != FORMAT:
        raise ModelError("model", str(path), f"has format {index['format']!r}; this frisket reads {FORMAT}")
    inputs, files = {key: _inputs(path, entry) for key, entry in index["replicas"].items()}, index["files"]
    for name in (*needed, *map(state_file, inputs)):
        if name not in files:
            raise ModelError("model", str(path), f"{INDEX} has no digest of {name}; fetch the model again")
    for name in files:
        if not (path / name).resolve().is_relative_to(path.resolve()):
            raise ModelError("model", str(path), f"{INDEX} names a file outside the folder: {name!r}; do not use it")
        if not (path / name).is_file():
            raise ModelError("model", str(path), f"not a complete frisket model: {name} is missing, or no regular file")
    for name, digest in files.items():
        if sha256_of(path / name) != digest:
            raise ModelError("model", str(path), f"{name} is damaged (its sha256 differs); fetch the model again")
    return Index(inputs, frozenset(files))


def _inputs(path: Path, entry: Any) -> Inputs:
    """What ``entry`` of the index of the model ``path`` says a replica takes and tells apart."""
    inputs = Inputs.from_dict(entry)
    numbers = [*inputs.shape, inputs.ways, *(() if inputs.own is None else (inputs.own,))]
    named = (*inputs.names, *inputs.domains)
    whole = len(inputs.shape) == 3 and all(type(n) is int and 1 <= n <= _MOST for n in numbers)
    if not whole or math.prod(inputs.shape) > _MOST or not all(isinstance(name, str) for name in named):
        raise ModelError("model", str(path), f"{INDEX} says what cannot be of a replica's inputs: {entry}")
    return inputs
