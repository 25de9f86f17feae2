"""Files of packed bits: safetensors of uint8 arrays (``numpy.packbits``, little bit order) whose metadata hold the
format's name, the shapes of what was packed and the digest of both. Reading takes bytes and JSON, nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from frisket.errors import MaskError
from frisket.files import NOT_AS_SEALED, NOT_SEALED, SEAL, sha256_of_parts, write_bytes


class BitFile(NamedTuple):
    """Attributes: bits: uint8 arrays by name; shapes: of what they hold, by name."""

    bits: dict[str, np.ndarray]
    shapes: dict[str, tuple[int, ...]]


def packed(values: np.ndarray) -> np.ndarray:
    """``values`` [n] of booleans as ceil(n / 8) bytes."""
    return np.packbits(values, bitorder="little")


def unpacked(bits: np.ndarray, count: int) -> np.ndarray:
    """The ``count`` booleans in the bytes ``bits``; raises ValueError where they hold another number."""
    if bits.dtype != np.uint8 or bits.size != (count + 7) // 8:
        raise ValueError(f"{bits.size} bytes cannot hold {count} bits")
    return np.unpackbits(bits, count=count, bitorder="little").view(bool)


def write_bits(
    path: str | Path, format_name: str, bits: Mapping[str, np.ndarray], shapes: Mapping[str, Sequence[int]]
) -> Path:
    """Replace ``path``, whole and durable."""
    from safetensors.numpy import save

    path = Path(path)
    described = json.dumps({k: list(shape) for k, shape in shapes.items()})
    metadata = {"format": format_name, "shapes": described, SEAL: _digest(bits, described)}
    write_bytes(path, save(dict(bits), metadata=metadata))
    return path


def format_of(path: str | Path) -> str | None:
    """The format's name in the file ``path``; None where there is none to be read."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="numpy") as file:
            return (file.metadata() or {}).get("format")
    except (OSError, SafetensorError):
        return None


def _digest(bits: Mapping[str, np.ndarray], described: str) -> str:
    """Of the bytes and of the shapes' description."""
    return sha256_of_parts(described, {name: np.ascontiguousarray(one).reshape(-1) for name, one in bits.items()})


@contextmanager
def read_bits(path: str | Path, format_name: str, what: str) -> Iterator[BitFile]:
    """The content of ``path``; what goes wrong with it inside the context is a damaged file, too.

    Args:
        path: written by `write_bits`.
        format_name: the one it must have.
        what: that the file must be, for the message.

    Raises:
        MaskError: no such file, one of another format, or damaged.
    """
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        raise MaskError("mask file", str(path), "no such file")
    try:
        with safe_open(str(path), framework="numpy") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != format_name:
                raise MaskError("mask file", str(path), f"not {what} of format {format_name}")
            shapes = {str(k): tuple(int(n) for n in v) for k, v in json.loads(metadata["shapes"]).items()}
            bits = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - safe_open is no mapping
            if SEAL not in metadata:
                raise MaskError("mask file", str(path), NOT_SEALED)
            if metadata[SEAL] != _digest(bits, metadata["shapes"]):
                raise MaskError("mask file", str(path), f"{NOT_AS_SEALED}; restore it from the registry")
            yield BitFile(bits, shapes)
    except (SafetensorError, KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, MaskError) and error.field == "mask file":
            raise
        raise MaskError("mask file", str(path), f"damaged ({error}); restore it from the registry") from error
