"""Whether what a specification builds has room in this machine's memory, told before any of it is made."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from frisket.algos.networks.network import Network
from frisket.errors import SpecError
from frisket.heap import machine_memory

_COPIES = 2  # the weights and their gradients: the least that learning takes
_SMALL = 2_000
"""Below it in all its numbers a network's size is not asked for: asking takes seconds, and such a one fits."""


def require_fits(network: Network, config: Any) -> None:
    """Raise `SpecError` where the weights of ``network``, of the section ``config``, have no room in memory."""
    if all(number < _SMALL for number in _numbers(vars(config))):
        return
    wanted, there = _COPIES * _bytes(network), machine_memory()
    if wanted > there:
        fix = f"its weights and gradients take {wanted / 2**30:.3g} GiB, and this machine has {there / 2**30:.3g} GiB"
        raise SpecError("network", _said(config), fix)


def _bytes(network: Network) -> float:
    from torch._subclasses.fake_tensor import FakeTensorMode

    try:
        with FakeTensorMode():  # shapes without contents
            return sum(value.nbytes for value in network.init(torch.Generator()).values())
    except RuntimeError:  # more than torch can count
        return float(2**63)


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for one in value:
            yield from _numbers(one)
    elif isinstance(value, (int, float)):
        yield value


def _said(config: Any) -> str:
    return ", ".join(f"{name}={value}" for name, value in vars(config).items())
