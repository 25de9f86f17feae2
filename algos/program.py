"""Pure functions of tensors compiled ahead of time, kept on disk between processes.

A compiled program is machine code for one signature (shapes, strides, types). It is made once per machine, in half a
minute or so, and found again by every later process in under a second. Its name is a hash of everything it is made
from: frisket's methods as source text, torch, the processor, the signature. So a stale one is never found.

Compiled and plain numbers agree to float32 rounding, not to the bit.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import platform
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from frisket.errors import require
from frisket.files import lock, replacing
from frisket.folders import cache_folder

_CHECKED = 3
"""Calls of a program that check what they are given: enough for its own results to have come back as arguments."""

Pure = Callable[..., Any]
"""A function of tensors and nested tuples, lists and dicts of tensors, which returns the same."""


def compiler() -> str | None:
    """Path of the C++ compiler there is, None without one."""
    names = (os.environ.get("CXX", "c++"), "g++", "clang++")
    return next((path for name in names if (path := shutil.which(name))), None)


def program_folder() -> Path:
    """Where compiled programs are kept."""
    return cache_folder() / "programs"


def compiled(function: Pure, name: str, *example: Any) -> Pure:
    """``function`` for arguments of the shapes, strides and types of ``example``, compiled or found on disk.

    Args:
        function: pure; which branch it takes may depend on nothing but shapes and on what ``name`` says.
        name: what the function is, with everything it depends on beside its arguments.
        example: arguments. Later ones must have their signature; the first few calls check it, then it is trusted,
            for checking every call would cost as much as some calls do.

    Raises:
        SpecError: there is no C++ compiler and the program is not on disk.
        ValueError: by the program: arguments of another signature.
    """
    leaves, build_arguments = _flatten(example)
    signature, collect = _signature(leaves), _collector(example)
    path = program_folder() / f"{_key(name, signature)}.pt2"
    shape_of_result: list[Any] = []

    def flat(*tensors: Tensor) -> list[Tensor]:
        result, build = _flatten(function(*build_arguments(iter(tensors))))
        shape_of_result[:] = [build]
        return result

    if not path.exists():
        require(compiler() is not None, "compile", True, "false on a machine without a C++ compiler")
        _make(flat, leaves, path)
    if not shape_of_result:
        with torch.device("meta"):  # traces the result's structure, computes nothing
            flat(*[torch.empty_strided(t.shape, t.stride(), dtype=t.dtype, device="meta") for t in leaves])
    build_result = shape_of_result[0]
    with _quiet():
        loader = torch._inductor.aoti_load_package(str(path)).loader

    unchecked = _CHECKED

    def run(*arguments: Any) -> Any:
        nonlocal unchecked
        tensors: list[Tensor] = []
        collect(arguments, tensors)
        if unchecked:
            unchecked -= 1
            if (given := _signature(tensors)) != signature:
                raise ValueError(f"{name}: compiled for {signature}, called with {given}")
        return build_result(iter(loader.run(tensors)))

    return run


def _make(flat: Callable[..., list[Tensor]], leaves: list[Tensor], path: Path) -> None:
    """Compile into ``path``; of several processes one works and the others wait."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with lock(path.with_suffix(".lock")):
        if path.exists():
            return
        module = _Module(flat)
        with _quiet(), replacing(path) as part:
            exported = torch.export.export(module, tuple(leaves), strict=False)
            torch._inductor.aoti_compile_and_package(exported, package_path=str(part))


class _Module(torch.nn.Module):
    """What `torch.export` takes."""

    def __init__(self, function: Callable[..., list[Tensor]]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *tensors: Tensor) -> list[Tensor]:
        return self.function(*tensors)


def _signature(leaves: list[Tensor]) -> list[tuple[Any, ...]]:
    return [(tuple(t.shape), t.stride(), str(t.dtype), t.device.type) for t in leaves]


def _key(name: str, signature: list[tuple[Any, ...]]) -> str:
    machine = (platform.machine(), torch.backends.cpu.get_cpu_capability(), torch.get_num_threads())
    made_from = repr((name, signature, machine, torch.__version__, _sources()))
    return hashlib.blake2b(made_from.encode(), digest_size=16).hexdigest()


@functools.cache
def _sources() -> str:
    """Hash of the methods' source text."""
    digest = hashlib.blake2b()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Torch's compiler warns about its own insides."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _flatten(value: Any) -> tuple[list[Tensor], Callable[[Iterator[Tensor]], Any]]:
    """The tensors of ``value``, dicts in the order of their sorted keys, and a function that puts others in their
    place."""
    leaves: list[Tensor] = []
    _collector(value)(value, leaves)
    return leaves, _builder(value)


def _collector(example: Any) -> Callable[[Any, list[Tensor]], None]:
    """What adds the tensors of values built like ``example`` to a list. A dict's order says nothing: whoever builds a
    state may build it in another, and tensors of equal shapes would change places unseen."""
    if isinstance(example, Tensor):
        return lambda value, leaves: leaves.append(value)
    keys = sorted(example) if isinstance(example, dict) else range(len(example))
    parts = [(key, _collector(example[key])) for key in keys]

    def collect(value: Any, leaves: list[Tensor]) -> None:
        for key, part in parts:
            part(value[key], leaves)

    return collect


def _builder(value: Any) -> Callable[[Iterator[Tensor]], Any]:
    if isinstance(value, Tensor):
        return next
    if isinstance(value, dict):
        parts = {k: _builder(value[k]) for k in sorted(value)}
        return lambda tensors: {k: part(tensors) for k, part in parts.items()}
    items = [_builder(v) for v in value]
    if hasattr(value, "_fields"):  # a NamedTuple
        return lambda tensors: type(value)(*[part(tensors) for part in items])
    return lambda tensors: type(value)([part(tensors) for part in items])
