"""Sequences of tasks by name (continual_world spec, section 2).

``cw3e`` is a cheap one of ours, and ``cw6`` ours too: the paper that has six tasks does not name them. ``reach-drawer``
is what two cores learn in minutes: with ``goals: fixed`` its two reach tasks have each a goal of their own. Of the
triplets, which a public derivative of the released code lists, the first two are marked good there and the last three
bad; the numbers are ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

CW10 = (
    "hammer", "push-wall", "faucet-close", "push-back", "stick-pull",
    "handle-press-side", "push", "shelf-place", "window-close", "peg-unplug-side",
)  # fmt: skip

SEQUENCES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "pointgoal": ("point-goal",) * 3,
        "pendulum": ("Pendulum-v1?g=2.0", "Pendulum-v1?g=6.0", "Pendulum-v1?g=10.0"),
        "reach-drawer": ("reach", "drawer-close", "reach"),
        "cw3e": ("hammer", "faucet-close", "window-close"),
        "cw6": CW10[:6],
        "cw10": CW10,
        "cw20": CW10 * 2,
        "triplet-1": ("push", "window-close", "hammer"),
        "triplet-2": ("hammer", "window-close", "faucet-close"),
        "triplet-3": ("stick-pull", "push-back", "push-wall"),
        "triplet-4": ("push-wall", "shelf-place", "push-back"),
        "triplet-5": ("faucet-close", "shelf-place", "push-back"),
        "triplet-6": ("stick-pull", "peg-unplug-side", "stick-pull"),
        "triplet-7": ("window-close", "handle-press-side", "peg-unplug-side"),
        "triplet-8": ("faucet-close", "shelf-place", "peg-unplug-side"),
        "triplet-9": ("peg-unplug-side", "push", "push-wall"),
        "triplet-10": ("window-close", "hammer", "push"),
        "triplet-11": ("push-back", "push-wall", "push"),
    }
)
"""Name to tasks."""
