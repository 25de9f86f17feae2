"""Meta-World's environments with the slow parts of a step written anew: the same numbers, sooner.

Most of a step is Python, and most of that are three things: every contact made an object of its own to be asked for two
numbers, scipy's general rotations for one matrix, and arrays of three numbers split and joined. Each is overridden in a
subclass here; the package itself is not touched. tests/envs/test_quicker.py holds trajectories against the package's.
"""

from __future__ import annotations

import math
import types
from functools import cache
from typing import Any

import numpy as np


@cache
def quicker(kind: type[Any]) -> type[Any]:
    """``kind``, an environment of Meta-World's, as a subclass that steps faster."""
    own: dict[str, Any] = {"touching_object": _touching, "_get_curr_obs_combined_no_goal": _frame}
    quaternions = kind._get_quat_objects
    if "Rotation" in quaternions.__code__.co_names:
        # the method as it stands, with another name for what it takes from scipy
        own["_get_quat_objects"] = types.FunctionType(
            quaternions.__code__, {**quaternions.__globals__, "Rotation": _Rotation}, quaternions.__name__,
            quaternions.__defaults__, quaternions.__closure__,
        )  # fmt: skip
    return type(kind.__name__, (kind,), own)


def quaternion(matrix: np.ndarray) -> np.ndarray:
    """(x, y, z, w) of a rotation [3, 3], with the sign that scipy gives it: the number of largest size is positive."""
    (a, b, c), (d, e, f), (g, h, i) = matrix.tolist()
    trace = a + e + i
    largest = max(a, e, i, trace)
    if largest == a:
        x, y, z, w = 1 - trace + 2 * a, b + d, c + g, h - f
    elif largest == e:
        x, y, z, w = b + d, 1 - trace + 2 * e, f + h, c - g
    elif largest == i:
        x, y, z, w = c + g, f + h, 1 - trace + 2 * i, d - b
    else:
        x, y, z, w = h - f, c - g, d - b, 1 + trace
    length = math.sqrt(x * x + y * y + z * z + w * w)
    return np.array([x / length, y / length, z / length, w / length])


class _Rotation:
    """What the package asks of scipy's."""

    def __init__(self, matrix: np.ndarray) -> None:
        self._matrix = matrix

    @classmethod
    def from_matrix(cls, matrix: np.ndarray) -> _Rotation:
        return cls(matrix)

    def as_quat(self) -> np.ndarray:
        return quaternion(self._matrix)


def _touching(self: Any, object_geom_id: int) -> bool:
    """Whether both pads press on the object."""
    contacts = self.data.contact
    pairs = contacts.geom.tolist()
    for name in ("leftpad_geom", "rightpad_geom"):
        pad = self.data.geom(name).id
        touching = [k for k, pair in enumerate(pairs) if pad in pair and object_geom_id in pair]
        if not touching or not sum(self.data.efc_force[contacts.efc_address[k]] for k in touching) > 0:
            return False
    return True


def _frame(self: Any) -> np.ndarray:
    """What is seen but for the goal, [18]: hand, gripper, and place and quaternion of every object in turn."""
    found = np.zeros(4 + self._obs_obj_max_len)
    found[:3] = self.get_endeff_pos()
    body = self.data.body
    apart = np.linalg.norm(body("rightclaw").xpos - body("leftclaw").xpos) / 0.1
    found[3] = min(max(apart, 0.0), 1.0)
    places, quaternions = self._get_pos_objects(), self._get_quat_objects()
    for k in range(len(places) // 3):
        at = 4 + 7 * k
        found[at : at + 3], found[at + 3 : at + 7] = places[3 * k : 3 * k + 3], quaternions[4 * k : 4 * k + 4]
    return found
