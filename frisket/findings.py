"""Contracts: what every method, network or stream must hold to, as functions anyone can run on their own.

A check is a function of one subject whose docstring's first paragraph is the sentence it holds the subject to. It
returns where that holds, raises `Broken` where it does not, and `NotAsked` where the subject declares nothing of the
kind::

    def counts_its_steps(trial):
        \"""The state's ``step`` counts the batches learned from.\"""
        need(seen == 3, f"step is {seen} after 3 batches")

`findings` runs checks one by one; whatever else the subject's code raises is a finding too, with the line it came from.
"""

from __future__ import annotations

import inspect
import random
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from frisket.errors import FrisketError

T = TypeVar("T")
Check = Callable[[T], None]
"""One check of a subject."""


class Broken(AssertionError):
    """A check does not hold; says what was seen."""


class NotAsked(FrisketError):
    """A check has nothing to ask of this subject."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What one check found.

    Attributes:
        name: the check's, in words.
        asserts: what must hold, one sentence.
        ok: whether it holds.
        seen: what was seen instead; empty where it holds.
    """

    name: str
    asserts: str
    ok: bool
    seen: str = ""


def need(ok: bool, seen: str) -> None:
    """Raise `Broken` unless ``ok``."""
    if not ok:
        raise Broken(seen)


def sentence(check: Check[T]) -> str:
    """What ``check`` asserts: the first paragraph of its docstring, on one line."""
    return " ".join((inspect.getdoc(check) or "").partition("\n\n")[0].split()).replace("``", "`")


def findings(checks: Iterable[Check[T]], subject: T, file: str | None = None) -> Iterator[Finding]:
    """What ``checks`` find of ``subject``, as they find it; those that do not ask are left out.

    Args:
        file: the source the subject comes from; an error is placed at the last line of it that it passed through.
    """
    for check in checks:
        name = check.__name__.replace("_", " ")
        try:
            check(subject)
        except NotAsked:
            continue
        except Broken as broken:
            yield Finding(name=name, asserts=sentence(check), ok=False, seen=str(broken))
        except (Exception, SystemExit) as error:
            yield Finding(name=name, asserts=sentence(check), ok=False, seen=in_words(error, file))
        else:
            yield Finding(name=name, asserts=sentence(check), ok=True)


def source_of(maker: Callable[..., object]) -> str | None:
    """The file that ``maker``, a function or a class, is written in; None where there is none."""
    try:
        return inspect.getsourcefile(inspect.unwrap(maker))
    except TypeError:
        return None


def in_words(error: BaseException, file: str | None) -> str:
    """Type, text and place of ``error``: the last line of ``file`` it passed through, or where it was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename == file] or frames[-1:]
    place = f" ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else ""
    return f"{type(error).__name__}: {error}{place}"


@contextmanager
def no_global_randomness() -> Iterator[None]:
    """Raise `Broken` if a global generator is drawn from or seeded meanwhile: Python's, numpy's or torch's."""
    before = _generators()
    yield
    moved = [name for name, state in _generators().items() if state != before[name]]
    need(not moved, f"the global generator of {' and '.join(moved)} was used; draw from frisket.rng instead")


def _generators() -> dict[str, object]:
    import torch

    state = np.random.get_state(legacy=False)  # noqa: NPY002  (looked at, not drawn from)
    words = state["state"]
    numpy = (state["bit_generator"], bytes(words["key"]), words["pos"], state["has_gauss"], state["gauss"])
    return {"random": random.getstate(), "numpy": numpy, "torch": bytes(torch.get_rng_state().numpy())}
