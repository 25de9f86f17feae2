"""Pixels as 8 bits: how numbers that were made from bytes go over the wire as bytes, and come back to the bit.

A coding is only ever chosen after its inverse has given back every bit of what was to be sent.

| coding | the number for byte k |
|---|---|
| ``unit`` | k / 255 |
| ``pixel`` | k |
| ``levels`` | the k-th of at most 256 levels, one table for every channel: normalised pictures |
| ``plain`` | none: the bytes are the numbers' own |
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

_PROBE, _BLOCK = 1024, 2**15
"""Numbers that are looked at before all of them are (most floats are no pixels, and the first few say so), and at once:
so many stay in the cache."""
_SAMPLE = 2**12
_NO_LEVELS = np.empty((0, 256), np.float32)


class Coded(NamedTuple):
    """Attributes:
    coding: its name.
    data: bytes, uint8.
    levels: ``[channels, 256]`` float32, unused ones 0; no channels but for the coding ``levels``.
    """

    coding: str
    data: np.ndarray
    levels: np.ndarray


def encode(flat: Tensor, channels: int, plane: int) -> Coded:
    """``flat`` in 8 bits if it is float32 and nothing is lost by it, else as it is.

    Args:
        flat: numbers, ``[n]``.
        channels: what they cycle through, ``plane`` numbers each; 1 where there are no channels.
        plane: numbers of one channel of one picture.
    """
    if flat.dtype == torch.float32 and len(flat):
        numbers = flat.numpy()
        with np.errstate(all="ignore"):  # what is no pixel may be anything
            for coding, scale in (("unit", np.float32(255)), ("pixel", np.float32(1))):
                if _scaled(numbers[:_PROBE], scale) is not None and (data := _scaled(numbers, scale)) is not None:
                    return Coded(coding, data, _NO_LEVELS)
            if (coded := _levelled(numbers.reshape(-1, channels, plane if channels > 1 else len(flat)))) is not None:
                return coded
    return Coded("plain", flat.view(torch.uint8).numpy(), _NO_LEVELS)


def decode(small: Tensor, coding: str, levels: np.ndarray, plane: int) -> Tensor:
    """The float32 numbers that were encoded as the bytes ``small``; ``plane`` as in `encode`."""
    numbers = torch.empty(len(small))
    if coding == "unit":
        return torch.div(small, 255, out=numbers)
    if coding == "pixel":
        return numbers.copy_(small)
    channels = len(levels)
    shape = (-1, channels, plane if channels > 1 else len(small))
    whole, parts = numbers.numpy().reshape(shape), small.numpy().reshape(shape)
    for channel in range(channels):
        whole[:, channel] = levels[channel].take(parts[:, channel])
    return numbers


def _scaled(numbers: np.ndarray, scale: np.float32) -> np.ndarray | None:
    """The k of numbers k / scale; None where one has another bit."""
    # numpy converts and compares several times faster than torch; both divide as IEEE 754 says.
    small = np.empty(len(numbers), np.uint8)
    for start in range(0, len(numbers), _BLOCK):
        part, own = numbers[start : start + _BLOCK], small[start : start + _BLOCK]
        whole = np.multiply(part, scale)
        np.copyto(own, np.rint(whole, out=whole), casting="unsafe")
        if not _equal(np.divide(own, scale, out=whole), part):
            return None
    return small


def _levelled(pictures: np.ndarray) -> Coded | None:
    """``[n, channels, plane]`` as levels; None where a channel has too many of them, or they are not evenly spaced."""
    small, levels = np.empty(pictures.shape, np.uint8), np.zeros((pictures.shape[1], 256), np.float32)
    for channel, table in enumerate(levels):
        numbers = pictures[:, channel].reshape(-1)
        if (spacing := _spacing(numbers)) is None:
            return None
        first, step = spacing
        first += step * np.rint((numbers.min() - first) / step)
        places = np.rint((numbers - np.float32(first)) * np.float32(1 / step))
        if not (places.min() >= 0 and places.max() <= 255):
            return None
        found = places.astype(np.uint8)
        table[found[:_SAMPLE]] = numbers[:_SAMPLE]
        missing = table.take(found) != numbers  # levels that the first numbers do not have; mostly none
        table[found[missing]] = numbers[missing]
        if not _equal(table.take(found), numbers):
            return None
        small[:, channel] = found.reshape(small[:, channel].shape)
    return Coded("levels", small.reshape(-1), levels)


def _spacing(numbers: np.ndarray) -> tuple[float, float] | None:
    """A level and the distance between levels, judged by the first numbers; None where these are no levels."""
    for few in (_PROBE, _SAMPLE):
        found = np.unique(numbers[:few])
        if len(found) > 256 or not np.isfinite(found).all():
            return None
    if len(found) == 1:
        return float(found[0]), 1.0
    step = float(np.diff(found.astype(np.float64)).min())
    return (float(found[0]), step) if found[-1] - found[0] <= 255.5 * step else None


def _equal(a: np.ndarray, b: np.ndarray) -> bool:
    """To the bit."""
    return np.array_equal(a.view(np.int32), b.view(np.int32))
