"""Text without the secrets in it: what is written to a file, sent somewhere or shown to a person.

A URI may carry a password (``http://alice:PASSWORD@host``, ``postgresql://u:PASSWORD@host/db``, ``...?password=...``).
It is used from the environment and never kept: what is kept of a URI is what `redacted` leaves of it. Errors of the
libraries beneath us may repeat it, whole or torn out of its URI; all that is said of them passes through `censored`.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Iterator
from urllib.parse import unquote

HIDDEN = "***"
"""What stands in place of a secret."""

_DATABASE = r"\b(?:postgresql|postgres|mysql|mariadb|mssql|oracle|cockroachdb)(?:\+\w+)?://"
# User and password end at the last "@" before the path. Unquoted they may hold what should end a host, "/" for one: a
# "user:" that no port follows is taken for one too; in a database's address whatever follows, as SQLAlchemy reads it.
_USER = re.compile(
    rf"(?P<scheme>{_DATABASE})(?:[^\s/?#]*@|[^\s/:@]*:[^\s@]*@)"
    r"|(?P<other>\b[a-zA-Z][\w+.-]*://)(?:[^\s/?#]*@|[^\s/:@]*:(?!\d*(?:[/?#\s]|$))[^\s@]*@)"
)
_NAMED = re.compile(
    r"(?P<name>[?&;][\w.-]*(?:passw(?:or)?d|pwd|passphrase|secret|token|credential|api_?key|access_?key|signature"
    r"|odbc_connect)[\w.-]*=)[^\s&;#'\"]+",
    re.IGNORECASE,
)

_URIS = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "MLFLOW_BACKEND_STORE_URI")
_SECRETS = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "RAY_AUTH_TOKEN")
"""Variables of the environment that hold a URI, perhaps with a secret in it, and those that are a secret."""


def redacted(uri: str) -> str:
    """``uri``, or words with URIs in them, with `HIDDEN` for users and passwords of URIs, and for values called
    password, token and the like."""
    text = _USER.sub(lambda found: f"{found['scheme'] or found['other']}{HIDDEN}@", uri)
    return _NAMED.sub(rf"\g<name>{HIDDEN}", text)


def censored(text: str) -> str:
    """``text`` to be said to somebody: `redacted`, and without the secrets of the environment wherever they stand."""
    text = redacted(text)
    for secret in sorted(set(_known()), key=len, reverse=True):
        # A short one may be part of a word by chance.
        text = re.sub(rf"(?<![A-Za-z0-9]){re.escape(secret)}(?![A-Za-z0-9])", HIDDEN, text)
    return text


def _known() -> Iterator[str]:
    """The secrets in the environment, as they are and as they are quoted in a URI."""
    for name in _SECRETS:
        yield from filter(None, [os.environ.get(name, "").strip()])
    for name in _URIS:
        uri = os.environ.get(name, "")
        for found in _USER.finditer(uri):
            user = found[0].removeprefix(found["scheme"] or found["other"]).removesuffix("@")
            secret = user.partition(":")[2] or user.rstrip(":")  # a token may stand in a user's place
            yield from filter(None, [secret, unquote(secret)])
            yield base64.b64encode(unquote(user).encode()).decode().rstrip("=")  # as a server is told it
        for found in _NAMED.finditer(uri):
            secret = found[0].removeprefix(found["name"])
            yield from (secret, unquote(secret))
