"""Functions in C++ for what torch has no operation for, compiled where they are first called, kept between processes.

A source is compiled in about two seconds, once per machine, to a library of plain functions of addresses and numbers.
It goes by the processor that torch goes by, and sums in the order that is written, whatever the compiler. Where there
is no compiler, or one that cannot, there is no library, and who asked has another way, equal to it up to rounding.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import platform
import subprocess
from pathlib import Path

import torch
from torch import Tensor

from frisket.algos.program import compiler, program_folder
from frisket.files import made_once

_FLAGS = ("-std=c++17", "-O3", "-fPIC", "-shared", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math")
_OF = {
    "AVX512": ("-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mprefer-vector-width=512"),
    "AVX2": ("-mavx2",),
}
"""Flags by what torch uses of the processor; elsewhere none."""


@functools.cache
def library(source: Path) -> ctypes.CDLL | None:
    """The functions of the C++ file ``source``, compiled or found on disk; None where they cannot be had."""
    capability = torch.backends.cpu.get_cpu_capability()
    flags = (*_FLAGS, *next((_OF[name] for name in _OF if capability.startswith(name)), ()))
    made_from = repr((source.read_text(encoding="utf-8"), flags, platform.system(), platform.machine()))
    path = program_folder() / f"{hashlib.blake2b(made_from.encode(), digest_size=16).hexdigest()}.so"

    def make(part: Path) -> None:
        if (found := compiler()) is None:
            raise FileNotFoundError("no C++ compiler")
        subprocess.run([found, *flags, str(source), "-o", str(part)], check=True, capture_output=True)

    try:
        made_once(path, make)
        return ctypes.CDLL(str(path))
    except (OSError, subprocess.CalledProcessError):
        return None


def address(tensor: Tensor) -> ctypes.c_void_p:
    """Where the numbers of ``tensor`` begin; the caller holds it, and knows how it lies."""
    return ctypes.c_void_p(tensor.data_ptr())
