"""Nested dicts of tensors (`frisket.types.State`): flatten, map, move, stack, compare."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from frisket.algos.parts.clip import spread
from frisket.types import Params, State

SEPARATOR = "/"


def flatten(state: Mapping[str, Any], prefix: str = "") -> dict[str, Tensor]:
    """``{"a": {"b": t}}`` to ``{"a/b": t}``, in the state's own order; empty dicts leave no trace."""
    flat: dict[str, Tensor] = {}
    for key, value in state.items():
        if SEPARATOR in key:
            raise ValueError(f"state key {key!r} contains {SEPARATOR!r}")
        name = f"{prefix}{key}"
        if isinstance(value, Tensor):
            flat[name] = value
        else:
            flat.update(flatten(value, name + SEPARATOR))
    return flat


def unflatten(flat: Mapping[str, Tensor]) -> State:
    """The inverse of `flatten`."""
    state: State = {}
    for name, tensor in flat.items():
        *parents, leaf = name.split(SEPARATOR)
        node: Any = state
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = tensor
    return state


def map_tensors(fn: Callable[[Tensor], Tensor], state: Mapping[str, Any]) -> State:
    """``fn`` applied to every tensor, structure kept (empty dicts too)."""
    return {k: fn(v) if isinstance(v, Tensor) else map_tensors(fn, v) for k, v in state.items()}


def to_device(state: Mapping[str, Any], device: torch.device | str) -> State:
    """``state`` with every tensor on ``device``."""
    return map_tensors(lambda t: t.to(device), state)


def stacked(states: Sequence[Mapping[str, Any]]) -> State:
    """``states`` of one structure as one, their tensors stacked along a new first dimension."""
    first = states[0]
    return {
        k: torch.stack([s[k] for s in states]) if isinstance(v, Tensor) else stacked([s[k] for s in states])
        for k, v in first.items()
    }


def picked(state: State, index: int) -> State:
    """One of the states `stacked` made one; shares storage."""
    return map_tensors(lambda t: t[index], state)


def lifted(state: State) -> State:
    """``state`` as that of a pack of one; shares storage."""
    return map_tensors(lambda t: t[None], state)


def equal_states(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    """Whether both have the same entries, bit for bit, in whatever order."""
    left, right = flatten(a), flatten(b)
    return left.keys() == right.keys() and all(
        left[k].dtype == right[k].dtype and torch.equal(left[k], right[k]) for k in left
    )


def descend(params: Params, lr: float, grads: Params) -> Params:
    """``params - lr grads``: a step of plain SGD."""
    return {k: v.sub(grads[k], alpha=lr) for k, v in params.items()}


def descend_each(params: Params, lr: Tensor, grads: Params) -> Params:
    """`descend` for every replica at its own rate, [P]; all tensors are [P, ...]."""
    return {k: torch.addcmul(v, grads[k], spread(lr, v), value=-1) for k, v in params.items()}
