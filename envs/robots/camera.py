"""Pictures of MuJoCo's scenes, drawn without a screen by a library of the system's: EGL, or OSMesa."""

from __future__ import annotations

import atexit
import ctypes.util
import importlib
import os
from functools import cache
from typing import Any

import numpy as np

from frisket.errors import SpecError

SIDE = 240
"""Pixels of a picture, along each side."""
_LIBRARIES = {"egl": "EGL", "osmesa": "OSMesa"}
_OBJECTS = 2000  # of a scene, at most


class Camera:
    """What a camera of a model sees.

    Args:
        model: MuJoCo's.
        name: of the camera.

    Raises:
        SpecError: there is no library to draw with, or it cannot.
    """

    def __init__(self, model: Any, name: str) -> None:
        mujoco, context = _mujoco(), _context()
        self._model, self._scene, self._options = model, mujoco.MjvScene(model, _OBJECTS), mujoco.MjvOption()
        self._camera = mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._camera.fixedcamid = model.camera(name).id
        context.make_current()
        self._drawing = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._drawing)
        atexit.register(self._drawing.free)

    def picture(self, data: Any) -> np.ndarray:
        """Of the model's state ``data``: [S, S, 3] uint8, rows from the bottom up, as the library gives them."""
        mujoco = _mujoco()
        every, size = mujoco.mjtCatBit.mjCAT_ALL, mujoco.MjrRect(0, 0, SIDE, SIDE)
        mujoco.mjv_updateScene(self._model, data, self._options, None, self._camera, every, self._scene)
        mujoco.mjr_render(size, self._scene, self._drawing)
        found = np.zeros((SIDE, SIDE, 3), np.uint8)
        mujoco.mjr_readPixels(found, None, size, self._drawing)
        return found


def _mujoco() -> Any:
    return importlib.import_module("mujoco")  # whose names are told to no checker of types


@cache
def _context() -> Any:
    """What is drawn into, made once."""
    wanted = os.environ.get("MUJOCO_GL", "").lower()
    names = [wanted] if wanted in _LIBRARIES else list(_LIBRARIES)
    there = [name for name in names if ctypes.util.find_library(_LIBRARIES[name])]
    if not there:
        fix = "apt-get install libegl1 libegl-mesa0 libgl1-mesa-dri, or libosmesa6; or leave --render out"
        said = " or ".join(_LIBRARIES[name] for name in names)
        raise SpecError("render", True, f"needs {said} to draw with, and this machine has none: {fix}")
    try:
        made = importlib.import_module(f"mujoco.{there[0]}").GLContext(SIDE, SIDE)
    except Exception as error:  # whatever the library and its bindings raise
        fix = f"cannot draw with {_LIBRARIES[there[0]]} ({type(error).__name__}: {error}); set MUJOCO_GL to the other"
        raise SpecError("render", True, f"{fix} of {' and '.join(_LIBRARIES)}, or leave --render out") from error
    atexit.register(made.free)
    return made
