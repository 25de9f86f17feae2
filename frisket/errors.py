"""The exception tree.

::

    FrisketError            anything frisket raises on purpose; exit code 1
    ├── Stopped             a run was asked to stop, and can be resumed
    ├── SourceLost          a source of a streaming service has died or does not answer; another may
    ├── DamagedChunk        what a source sent is not what its digest says; it is asked for again
    ├── Damaged             in `frisket.envs.data.containers`: bytes of a data set are not what their name says; reaches
    │                       the user as a DataError, which names the file
    ├── NotAsked            in `frisket.findings`: a check has nothing to ask of what it tries
    └── UserError           the user can mend it: names field, value and fix; exit code 2, no traceback
        ├── SpecError       an experiment's specification
        ├── DataError       a data set: missing, truncated, corrupt, unknown
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
        super().__init__(_in_a_line(f"{field} = {value!r}: {fix}"))

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


def _in_a_line(text: str) -> str:
    """``text`` with what ends lines, steers terminals or cannot be printed escaped: a key or a path may hold it."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def require(ok: bool, field: str, value: object, allowed: str) -> None:
    """Raise `SpecError` unless ``ok``; ``allowed`` says which values are (used by the configuration dataclasses)."""
    if not ok:
        raise SpecError(field, value, f"must be {allowed}")


def nearest(name: str, known: Iterable[str], most: int = 30) -> str:
    """Text for the ``fix`` of a `UserError`: the nearest known name, and the known ones (of many, some)."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=most, cutoff=0.4)
    hint = f"did you mean {close[0]!r}? " if close else ""
    if len(names) <= most:
        return f"{hint}known: {', '.join(names)}"
    shown = close[:5] or names[:5]
    return f"{hint}known: {', '.join(shown)} and {len(names) - len(shown)} more"
