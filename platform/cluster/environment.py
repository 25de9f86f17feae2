"""The environment of this process for the length of a block."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping


@contextlib.contextmanager
def environment(variables: Mapping[str, str], also: Iterable[str] = ()) -> Iterator[None]:
    """``variables`` in the environment inside the block, and for every process started there. At its end they, and what
    ``also`` names, are as they were."""
    before = {name: os.environ.get(name) for name in (*variables, *also)}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def unset(defaults: Mapping[str, str]) -> dict[str, str]:
    """Those of ``defaults`` that nobody has set: what a user says stays."""
    return {name: value for name, value in defaults.items() if name not in os.environ}
