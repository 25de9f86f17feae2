"""Standard output and error that cannot show every character: what they show in its place."""

from __future__ import annotations

import codecs
import io
import sys

_IN_ITS_PLACE = str.maketrans(
    {"±": "+-", "×": "x", "…": "...", "–": "-", "—": "-", "─": "-", "━": "-", "│": "|", "•": "*"}
)


def say_what_can_be_said() -> None:
    """From here on a character that a stream's encoding lacks (``LC_ALL=C``) is written in others, or as "?": a run is
    not lost for a sign in its table."""
    codecs.register_error("frisket", _replaced)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors in ("strict", "surrogateescape"):
            stream.reconfigure(errors="frisket")


def _replaced(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end].translate(_IN_ITS_PLACE)
    return text.encode(error.encoding, "replace").decode(error.encoding), error.end
