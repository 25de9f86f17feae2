"""Pure functions of tensors compiled ahead of time, kept on disk between processes.

A compiled program is machine code for one signature (shapes, strides, types). It is made once per machine, in half a
minute or so, and found again by every later process in under a second.

Its key is a hash of what is computed: the operations, one by one, that the function carries out on the example, with
every number and tensor that it brings along (a configuration's, a closure's), and beside them torch, the processor,
the signature and this file. Names and source text are not asked, for they leave gaps: two classes of one name, a
function of another module, an attribute changed after the import, a class typed into a notebook. So a stale program is
never found, wherever a method comes from, and methods that share a computation share its program. The price is one call
of the plain function, watched, before a program is looked for: 0.2 s for ten inner steps.

Compiled and plain numbers agree to float32 rounding, not to the bit.
"""

from __future__ import annotations

import contextlib
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
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

from frisket.errors import require
from frisket.files import made_once
from frisket.folders import cache_folder

_CHECKED = 3
"""Calls of a program that check what they are given: enough for its own results to have come back as arguments."""

_COMPILING = {
    "aot_inductor.precompile_headers": False, "aot_inductor.enable_line_tables": False, "cpp.vec_isa_ok": True
}  # fmt: skip
"""Not spent on programs: headers compiled beforehand, the lines of the source, and trial programs that ask the compiler
what the processor has told already. Three programs then take 33 seconds of a core instead of 52. Optimising the calls
between their kernels less would save three more, and make every meta-update a seventh longer."""

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
        function: pure; which branch it takes may depend on nothing but shapes, strides, types and devices. What it
            holds beside its arguments (numbers, tensors, other functions) becomes part of the program.
        name: what messages call it; programs are told apart by what they compute.
        example: arguments. Later ones must have their signature; the first few calls check it, then it is trusted,
            for checking every call would cost as much as some calls do.

    Raises:
        SpecError: there is no C++ compiler and the program is not on disk.
        ValueError: by the program: arguments of another signature.
    """
    leaves, build_arguments = _flatten(example)
    signature, collect = _signature(leaves), _collector(example)
    path, build_result = _sought(function, example)

    def make(part: Path) -> None:
        require(compiler() is not None, "compile", True, "false on a machine without a C++ compiler")
        _make(lambda *tensors: _flatten(function(*build_arguments(iter(tensors))))[0], leaves, part)

    with _quiet():
        made_once(path, make)
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


def _sought(function: Pure, example: tuple[Any, ...]) -> tuple[Path, Callable[[Iterator[Tensor]], Any]]:
    """Where the program of ``function`` for ``example`` is kept, made already or not, and what builds its result."""
    leaves, build_arguments = _flatten(example)
    apart = [leaf.detach() for leaf in leaves]  # one tensor given twice is still two arguments
    with _Watched(apart) as watched:
        results, build_result = _flatten(function(*build_arguments(iter(apart))))
    return program_folder() / f"{_key(watched.computation(results), _signature(leaves))}.pt2", build_result


def _make(flat: Callable[..., list[Tensor]], leaves: list[Tensor], path: Path) -> None:
    """Compile into ``path``."""
    from torch._inductor import config as settings

    with settings.patch(_COMPILING):
        exported = torch.export.export(_Module(flat), tuple(leaves), strict=False)
        torch._inductor.aoti_compile_and_package(exported, package_path=str(path))


class _Module(torch.nn.Module):
    """What `torch.export` takes."""

    def __init__(self, function: Callable[..., list[Tensor]]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *tensors: Tensor) -> list[Tensor]:
        return self.function(*tensors)


def _signature(leaves: list[Tensor]) -> list[tuple[Any, ...]]:
    return [(tuple(t.shape), t.stride(), str(t.dtype), t.device.type) for t in leaves]


class _Watched(TorchDispatchMode):
    """Writes down every operation that reaches torch's kernels while it is entered, those inside of others included.

    Args:
        arguments: tensors that are handed to what is watched. They and all results of operations are called by number;
            any other tensor was brought along, and is called by its content.
    """

    def __init__(self, arguments: list[Tensor]) -> None:
        super().__init__()
        self._numbers = WeakTensorKeyDictionary()  # a result is freed when the function lets go of it
        self._counted = 0
        self._operations: list[Any] = []
        self._count(arguments)

    def computation(self, results: list[Tensor]) -> str:
        """The operations, in order, and which tensors ``results`` are."""
        return repr((self._operations, self._told(results)))

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        named = [(name, self._told(value)) for name, value in sorted(kwargs.items())]
        self._operations.append((str(func), self._told(args), named))
        result = func(*args, **kwargs)
        self._count(result)
        return result

    def _count(self, value: Any) -> None:
        if isinstance(value, (list, tuple)):
            for part in value:
                self._count(part)
        elif isinstance(value, Tensor) and value not in self._numbers:  # in-place operations return their argument
            self._numbers[value] = self._counted
            self._counted += 1

    def _told(self, value: Any) -> Any:
        """``value`` without its tensors, in a form whose ``repr`` is the same in every process."""
        if isinstance(value, (list, tuple)):
            return [self._told(part) for part in value]
        if not isinstance(value, Tensor):
            return value
        number = self._numbers.get(value)
        return f"tensor {number}" if number is not None else (_signature([value]), _digest(value))


def _digest(tensor: Tensor) -> str:
    """Hash of a tensor's content."""
    content = tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
    return hashlib.blake2b(content.tobytes(), digest_size=16).hexdigest()


def _key(computation: str, signature: list[tuple[Any, ...]]) -> str:
    machine = (platform.machine(), torch.backends.cpu.get_cpu_capability(), torch.get_num_threads())
    made_from = repr((computation, signature, machine, torch.__version__, Path(__file__).read_text(encoding="utf-8")))
    return hashlib.blake2b(made_from.encode(), digest_size=16).hexdigest()


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
