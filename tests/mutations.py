"""Damage of every kind, drawn by `hypothesis`, and what whoever reads a damaged file may do: give what was written
where the file carries a digest (anything, where it carries none), or raise one of frisket's own errors, said in a line;
in a bounded time and a bounded memory.

A format is a `Kind`: a row of the tables in ``test_damage.py`` of each room. The draws are the same every time.
"""

from __future__ import annotations

import contextlib
import json
import random
import re
import resource
import signal
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import HypothesisWarning
from torch import Tensor, uint8

from frisket.errors import FileError, FrisketError

COUNTS = [100, pytest.param(1000, marks=pytest.mark.slow)]
"""Mutations of each kind: in ``make test``, and in ``make test-slow``."""
SECONDS = 10
"""That one reading may take."""
MEMORY = 512 * 2**20
"""Bytes that readings may reserve beyond what the process has."""


class Hang(BaseException):
    """A reading took longer than `SECONDS`. No ``Exception``: a reader that takes any for damage must not take this."""


class Form(NamedTuple):
    """How a text says nested values. Attributes: loads: what it says; dumps: the text that says it."""

    loads: Callable[[str], Any]
    dumps: Callable[[Any], str]


JSON = Form(json.loads, json.dumps)
YAML = Form(yaml.safe_load, lambda value: yaml.safe_dump(value, sort_keys=False))


class Kind(NamedTuple):
    """A format of files.

    Attributes:
        make: one of it, in an empty folder, and say which.
        read: it, as frisket does.
        sealed: it carries a digest, so that what is read is what was written.
        form: of a text, so that its values are exchanged too; None for bytes.
    """

    make: Callable[[Path], Path]
    read: Callable[[Path], Any]
    sealed: bool = True
    form: Form | None = None


# -- what is drawn -----------------------------------------------------------------------------------------------------

TOKENS = (
    b"", b"\0", b"\xff\xfe", b"\xff" * 4, b"\xff" * 8, b"\x7f\xff\xff\xff", b"\0\0\0\x80", b"\xed\xa0\x80", b"\\ud800",
    b"\r\n", b"\t", b"\xe2\x80\xa8", b"-1", b"0", b"1e999", b"9" * 25, b"9" * 5000, b"0x" + b"f" * 400, b"NaN", b".nan",
    b"Infinity", b"null", b"true", b"[]", b"{}", b"[" * 40, b"[" * 20_000, b'{"a":' * 2000, b"&a [*a, *a]", b"*a",
    b"!!int abc", b"!!binary x", b"!!set {a, b}", b"!!python/name:os.system", b"!<tag:yaml.org,2002:timestamp> x",
    b"2001-13-45", b"2001-01-02", b"1:30", b"%s{}%n", b"../" * 9, b"x" * 200_000, b"<<: {a: 1}", b"? [a]\n: b\n",
    b"PK\x05\x06", b"PK\x01\x02", b"\x93NUMPY", b"%!PS-Adobe-3.0\n", b"\x1f\x8b", b"GIF89a",
)  # fmt: skip
"""What stands in no good file, or in none at that place."""

NUMBERS = st.integers(0, 2**64 - 1)
"""What place and kind of a change are made of. Hypothesis itself would draw mostly the first places, and changes much
like those before."""

VALUES: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, -1, 0, 1, 2**63, -(10**400), 1e308, float("nan"), float("inf"), -0.0, "", "\0", "a\nb", "é" * 99,
     "..", "1e-3", "yes", [], {}, [[]], {"": {}}, [[[[[[[[[[[1]]]]]]]]]]], "x" * 200_000]
) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)  # fmt: skip


class Edit(NamedTuple):
    """Attributes: how: one of `EDITS`; at, to: two places, counted round and round; token: what comes there."""

    how: str
    at: int
    to: int
    token: bytes

    def of(self, content: bytes) -> bytes:
        """``content`` with it made."""
        return EDITS[self.how](content, self) if content else self.token


def _flip(content: bytes, edit: Edit) -> bytes:
    at = edit.at % len(content)
    return content[:at] + bytes([content[at] ^ (1 + edit.to % 255)]) + content[at + 1 :]


def _ends(content: bytes, edit: Edit) -> tuple[int, int]:
    first, last = sorted((edit.at % len(content), edit.to % len(content)))
    return first, last + 1


def _out(content: bytes, edit: Edit) -> bytes:
    first, after = _ends(content, edit)
    return content[:first] + content[after:]


def _again(content: bytes, edit: Edit) -> bytes:
    first, after = _ends(content, edit)
    return content[:after] + content[first:]


def _lines(content: bytes, edit: Edit) -> bytes:
    """A line at the place of another, which comes after it or goes."""
    lines = content.splitlines(keepends=True)
    at, to = edit.at % len(lines), edit.to % len(lines)
    lines[at : at + edit.at % 2] = [lines[to]]
    return b"".join(lines)


def _word(content: bytes, edit: Edit) -> bytes:
    words = list(re.finditer(rb"[\w.+-]+", content))
    if not words:
        return content + edit.token
    found = words[edit.at % len(words)]
    return content[: found.start()] + edit.token + content[found.end() :]


EDITS: Mapping[str, Callable[[bytes, Edit], bytes]] = {
    "flip": _flip,
    "cut": lambda content, edit: content[: edit.at % len(content)],
    "out": _out,
    "again": _again,
    "line": _lines,
    "word": _word,
    "insert": lambda content, edit: (at := edit.at % len(content), content[:at] + edit.token + content[at:])[1],
    "over": lambda content, edit: (
        at := edit.at % len(content), content[:at] + edit.token + content[at + len(edit.token) :]
    )[1],
}  # fmt: skip


def damaged(content: bytes, form: Form | None = None) -> st.SearchStrategy[bytes]:
    """``content`` with an edit or two, or, of a ``form``, with another value in it."""
    edited = NUMBERS.map(lambda number: _edited(content, number))
    if form is None:
        return edited.filter(lambda made: made != content)
    said = form.loads(content.decode())
    exchanged = st.tuples(NUMBERS, VALUES).map(lambda drawn: _exchanged(said, *drawn))
    texts = exchanged.map(lambda value: form.dumps(value).encode("utf-8", "surrogatepass"))
    return (edited | texts).filter(lambda made: made != content)


def _edited(content: bytes, number: int) -> bytes:
    dice = random.Random(number)
    for _ in range(dice.choice((1, 1, 1, 2))):
        how = "flip" if dice.random() < 0.4 else dice.choice(sorted(EDITS))
        content = Edit(how, dice.randrange(2**32), dice.randrange(2**32), dice.choice(TOKENS)).of(content)
    return content


def _exchanged(said: Any, number: int, value: Any) -> Any:
    dice = random.Random(number)
    return exchange(said, dice.choice(list(paths(said))), value, dice.choice(("set", "drop", "add")))


def paths(said: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where in nested values every one stands, by keys and indices."""
    yield path
    inside = said.items() if isinstance(said, dict) else enumerate(said) if isinstance(said, list) else ()
    for key, one in inside:
        yield from paths(one, (*path, key))


def exchange(said: Any, path: tuple[Any, ...], value: Any, how: str) -> Any:
    """``said`` with ``value`` at ``path``: set there, added beside what is there, or what is there dropped."""
    if not path:
        return value
    key, copy = path[0], dict(said) if isinstance(said, dict) else list(said)
    if len(path) > 1:
        copy[key] = exchange(said[key], path[1:], value, how)
    elif how == "drop":
        del copy[key]
    elif how == "set":
        copy[key] = value
    elif isinstance(copy, dict):
        copy[value if isinstance(value, (str, int, float, type(None))) else str(value)] = said[key]
    else:
        copy.insert(key, value)
    return copy


# -- what is expected --------------------------------------------------------------------------------------------------


def plain(value: Any) -> Any:
    """``value`` so that equal means equal to the bit, types and order included."""
    if isinstance(value, Tensor):
        return str(value.dtype), tuple(value.shape), value.reshape(-1).view(uint8).tolist()
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, Mapping):
        return [(k, plain(v)) for k, v in value.items()]
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return type(value).__name__, repr(value)


def found(value: Any) -> Any:
    """``value``; that there is none says that damage was seen."""
    if value is None:
        raise FileError("file", "", "was taken for none")
    return value


@contextlib.contextmanager
def little_memory() -> Iterator[None]:
    """What the block reserves beyond `MEMORY` is not there: who asks for it gets a MemoryError."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@contextlib.contextmanager
def little_time() -> Iterator[None]:
    """`Hang` in a block that takes too long; the kernel ends a process that works on without coming back to Python."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise Hang(f"more than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    signal.setitimer(signal.ITIMER_PROF, 3 * SECONDS)  # nobody handles that one
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def refused(read: Callable[[], Any], whole: Any = None, *, sealed: bool = True) -> bool:
    """Whether what was damaged is refused; else it must be ``whole``, where it is ``sealed``."""
    try:
        with little_time():
            given = read()
    except FrisketError as error:
        assert "\n" not in str(error)  # noqa: PT017 - it need not come
        assert not any(isinstance(cause, MemoryError) for cause in _behind(error))  # noqa: PT017
        return True
    assert not sealed or plain(given) == whole, "damage was taken for good"
    return False


def _behind(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def drawn(check: Callable[[Any], None], strategy: st.SearchStrategy[Any], count: int) -> None:
    """``check`` of ``count`` draws, in little memory."""
    rules = settings(
        max_examples=count + count // 10,  # some come again
        derandomize=True, database=None, deadline=None, phases=(Phase.generate, Phase.shrink),
        suppress_health_check=(HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much),
    )  # fmt: skip
    with little_memory(), warnings.catch_warnings():
        warnings.simplefilter("ignore", HypothesisWarning)  # of the length of what is printed where a check fails
        rules(given(strategy)(check))()


def require_safe(kind: Kind, path: Path, count: int) -> int:
    """Damage ``path``, one of ``kind``, ``count`` times, and put it back as it was; how often that was refused."""
    content, whole = path.read_bytes(), plain(kind.read(path))
    outcomes: list[bool] = []

    def check(made: bytes) -> None:
        path.write_bytes(made)
        outcomes.append(refused(lambda: kind.read(path), whole, sealed=kind.sealed))

    drawn(check, damaged(content, kind.form), count)
    assert len(outcomes) >= count
    path.write_bytes(content)
    assert plain(kind.read(path)) == whole
    return sum(outcomes)
