"""The head of a Ray cluster as seen over HTTP: where it is, the token it asks for, whether its Ray is ours.

Everything here is asked before a byte of code is sent. Nothing is guessed about authentication: Ray itself turns tokens
on in some commands and off in others, so the mode and the token must be in the environment.
"""

from __future__ import annotations

import http.client
import importlib.metadata
import json
import os
import stat
import urllib.error
from pathlib import Path

from frisket.errors import ClusterError
from frisket.redaction import redacted
from frisket.web import answer

DEFAULT_ADDRESS = "http://127.0.0.1:8265"
SECONDS = 10.0
"""How long a head may take to answer."""

_EXPORT = "export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=FILE"


def head_address(given: str | None) -> str:
    """URL of the dashboard: ``given``, else RAY_API_SERVER_ADDRESS, else RAY_ADDRESS, else `DEFAULT_ADDRESS`.

    Raises:
        ClusterError: it is no http(s) URL.
    """
    named = {"--address": given} | {n: os.environ.get(n) for n in ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")}
    for name, value in named.items():
        if value:
            if not value.startswith(("http://", "https://")):
                raise ClusterError(name, value, "must be the dashboard's URL: --address http://HEAD:8265")
            return value.rstrip("/")
    return DEFAULT_ADDRESS


def auth_token() -> str | None:
    """The token that the environment names; None where it says that the cluster asks for none.

    Raises:
        ClusterError: the environment leaves it open, or the token cannot be read, or others can read it.
    """
    mode = os.environ.get("RAY_AUTH_MODE")
    if mode == "disabled":
        return None
    if mode != "token":
        raise ClusterError("RAY_AUTH_MODE", mode, f"say how the cluster authenticates: {_EXPORT} (or disabled)")
    if os.environ.get("RAY_AUTH_TOKEN"):
        return os.environ["RAY_AUTH_TOKEN"].strip()
    name = os.environ.get("RAY_AUTH_TOKEN_PATH")
    if not name:
        raise ClusterError("RAY_AUTH_TOKEN_PATH", name, f"must name the file with the cluster's token: {_EXPORT}")
    path = Path(name).expanduser()
    try:
        loose = stat.S_IMODE(path.stat().st_mode) & 0o077
        token = path.read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        raise ClusterError("RAY_AUTH_TOKEN_PATH", name, f"cannot be read: {error}") from None
    if loose:
        raise ClusterError("RAY_AUTH_TOKEN_PATH", name, f"others may read the token: chmod 600 {path}")
    if not token:
        raise ClusterError("RAY_AUTH_TOKEN_PATH", name, "the file is empty; it must hold the cluster's token")
    return token


def auth_headers(token: str | None) -> dict[str, str]:
    """What every request to the head carries."""
    return {} if token is None else {"Authorization": f"Bearer {token}"}


def require_same_ray(address: str, token: str | None, seconds: float = SECONDS) -> None:
    """Ask the head at ``address`` which Ray it runs.

    Raises:
        ClusterError: nobody answers within ``seconds``, it is no Ray head, it sends us to another place, which the
            token is not for, it refuses the token, or it runs another version of Ray than this machine, whose jobs it
            might misread.
    """
    try:
        with answer(f"{address}/api/version", auth_headers(token), seconds) as said:
            theirs = str(json.load(said)["ray_version"])
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):
            place = os.environ.get("RAY_AUTH_TOKEN_PATH")
            raise ClusterError("RAY_AUTH_TOKEN_PATH", place, _refused(error.code)) from None
        if 300 <= error.code < 400:
            there = redacted(str(error.headers.get("Location")))
            fix = f"sends us on to {there}, where the token does not go; if that is the head, name it with --address"
            raise ClusterError("address", address, fix) from None
        raise ClusterError("address", address, f"is no Ray head: it answers {error.code} to /api/version") from None
    except (ValueError, KeyError, TypeError):
        raise ClusterError("address", address, "is no Ray head: its answer names no version of Ray") from None
    except (OSError, http.client.HTTPException) as error:
        fix = f"no Ray head answers there ({error}); start one, or name its dashboard with --address"
        raise ClusterError("address", address, fix) from None
    ours = importlib.metadata.version("ray")
    if theirs != ours:
        fix = f"runs Ray {theirs}, this machine Ray {ours}: submit with the head's version (pip install ray=={theirs})"
        raise ClusterError("address", address, fix)


def _refused(code: int) -> str:
    if code == 401:
        return f"the head asks for a token: {_EXPORT}"
    return "the head refuses this token; it must be the one that the head was started with"
