"""The exception tree.

::

    FrisketError            anything frisket raises on purpose; exit code 1
    ├── Stopped             a run was asked to stop, and can be resumed
    ├── SourceLost          a source of a streaming service has died or does not answer; another may
    ├── DamagedChunk        what a source sent is not what its digest says; it is asked for again
    ├── Damaged             in `frisket.envs.data.containers`: bytes of a data set are not what their name says; reaches
    │                       the user as a DataError, which names the file
    ├── PeerLost            in `frisket.platform.run.together`: another process that shares a meta-batch is gone
    ├── RolloutLost         in `frisket.envs.robots.rollout`: a process that steps environments is gone, or they failed
    ├── NotAsked            in `frisket.findings`: a check has nothing to ask of what it tries
    └── UserError           the user can mend it: names field, value and fix; exit code 2, no traceback
        ├── SpecError       an experiment's specification
        ├── DataError       a data set: missing, truncated, corrupt, unknown
        │   └── NotThreeColours   in `frisket.envs.data.own_pictures`: a picture is grey, of four inks or the like
        ├── MaskError       a mask file or MaskSet that does not fit
        ├── ModelError      a model URI that leads nowhere, or a damaged model folder
        ├── RunError        a run folder: not found, not resumable, in use
        ├── TrackingError   MLflow: where it is, or what it asks for, is not known
        ├── FileError       a file that is damaged
        ├── ClusterError    a Ray cluster: not reached, its token refused, another version, too much to send it
        └── ServiceError    a streaming service: unknown, or not reachable
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from frisket.redaction import censored

LONGEST_VALUE = 200
"""Characters of a field or value that a message repeats."""


class FrisketError(Exception):
    """Base of everything frisket raises on purpose."""


class Stopped(FrisketError):
    """A run was asked to stop; its checkpoint is written."""


class SourceLost(FrisketError):
    """A source of a streaming service has died, cannot be reached or does not answer; another may."""


class DamagedChunk(FrisketError):
    """A chunk's content is not what its digest says."""


class UserError(FrisketError, ValueError):
    """A mistake the user can mend.

    Args:
        field: what is wrong, as the user wrote it (``learner.inner_steps``, a file, a URI).
        value: what it was set to.
        fix: what to do about it: allowed values, or the command that mends it.
    """

    def __init__(self, field: str, value: object, fix: str) -> None:
        self.field, self.value, self.fix = field, value, fix
        super().__init__(_in_a_line(f"{shortened(field)} = {shown(value)}: {fix}"))

    def __reduce__(self) -> tuple[type[UserError], tuple[str, object, str]]:
        return type(self), (self.field, self.value, self.fix)  # survives the trip back from a Ray worker


class SpecError(UserError):
    """An experiment's specification is wrong."""


class DataError(UserError):
    """A data set is missing, truncated, corrupt or unknown."""


class MaskError(UserError):
    """A mask file is damaged, or a MaskSet does not fit the network it is used with."""


class ModelError(UserError):
    """A model cannot be found or its folder is damaged."""


class RunError(UserError):
    """A run folder cannot be found, resumed or synchronised."""


class TrackingError(UserError):
    """The place of MLflow, or what it asks of who comes there, is not known."""


class FileError(UserError):
    """A file is damaged."""


class ClusterError(UserError):
    """A Ray cluster cannot be reached, refuses the token, or cannot take what is to be sent."""


class ServiceError(UserError):
    """A streaming service is unknown, or none of its sources can be reached."""


def as_data(error: UserError) -> dict[str, Any]:
    """``error``, JSON-able, to be kept for another process: what `rebuilt` takes."""
    value = error.value if isinstance(error.value, (str, int, float, bool, type(None))) else str(error.value)
    return {"kind": type(error).__name__, "field": error.field, "value": value, "fix": error.fix}


def rebuilt(*, kind: str, field: str, value: object, fix: str) -> UserError:
    """The error that `as_data` told of; of a kind that has its home elsewhere a plain `UserError`."""
    return globals().get(kind, UserError)(field, value, fix)


def _in_a_line(text: str) -> str:
    """``text`` with what ends lines, steers terminals or cannot be printed escaped: a key or a path may hold it."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def require(ok: bool, field: str, value: object, allowed: str) -> None:
    """Raise `SpecError` unless ``ok``; ``allowed`` says which values are (used by the configuration dataclasses)."""
    if not ok:
        raise SpecError(field, value, f"must be {allowed}")


def shown(value: object) -> str:
    """``value`` as Python writes it, `shortened`."""
    try:
        return shortened(repr(value))
    except Exception:  # a number of too many digits for Python, or a class of the user's that cannot
        return f"a {type(value).__name__} that cannot be written out"


def shortened(text: str, most: int = LONGEST_VALUE) -> str:
    """A name, path or value of at most ``most`` characters: of a longer one the middle is left out, and secrets, which
    nobody would find any more where they were cut."""
    if len(text) <= most or len(text := censored(text)) <= most:
        return text
    end = (most - 3) // 3
    return f"{text[: most - 3 - end]}...{text[len(text) - end :]}"


def cut_short(text: str, most: int) -> str:
    """What somebody else says, in one line of at most ``most`` characters. A longer one ends with a sentence, where
    that leaves half of it or more, else with a word, and an ellipsis."""
    line = _in_a_line(" ".join(text.split()))
    if len(line) <= most or len(line := censored(line)) <= most:
        return line
    head = line[: most - 4]
    sentence = max(head.rfind(sign) for sign in (". ", "! ", "? ", "; ")) + 1
    word = len(head) if line[len(head)] == " " else head.rfind(" ")
    end = next((end for end in (sentence, word) if end > most // 2), len(head))
    return f"{head[:end]} ..."


def nearest(name: str, known: Iterable[str], most: int = 30) -> str:
    """Text for the ``fix`` of a `UserError`: the nearest known name, and the known ones (of many, some)."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=most, cutoff=0.4)
    hint = f"did you mean {close[0]!r}? " if close else ""
    if len(names) <= most:
        return f"{hint}known: {', '.join(names)}"
    shown = close[:5] or names[:5]
    return f"{hint}known: {', '.join(shown)} and {len(names) - len(shown)} more"
