"""What went wrong between us and MLflow, said so that one knows where to look.

Either it gave no answer; or it answered, and will not or cannot do what it was asked (a login, a full disk, a database
that is only to be read); or it was not asked, for something that is the matter on our side.
"""

from __future__ import annotations

import http
import http.client
import re
import socket
import ssl
from collections.abc import Iterator

from frisket.errors import TrackingError, cut_short
from frisket.redaction import censored

_MOST = 200  # characters of what somebody else says
_NO_ANSWER = (ConnectionError, TimeoutError, socket.gaierror, ssl.SSLError, http.client.HTTPException)
_RETRIED = re.compile(r"too many (?P<status>\d{3}) error responses")  # where MLflow's client throws the answer away
_STATUS = re.compile(r"failed with error code (?P<status>\d{3}) != \d+\. Response body: '(?P<body>.*)'", re.DOTALL)


def said_of(error: Exception) -> str:
    """How a sentence ends that begins with "MLflow at URI", in one line without secrets.

    Args:
        error: what MLflow's client, the database, the network or `frisket.platform.tracking.settings` raised.
    """
    if isinstance(error, TrackingError):
        return f"is not asked ({error})"
    if isinstance(error, ImportError):
        return f"cannot be asked from here ({_first_line(error)})"
    for one in _chain(error):
        answer = _answer(one)
        if answer is not None:
            return answer
        if isinstance(one, _NO_ANSWER):
            return f"is not reachable ({_first_line(_innermost(one))})"
    return f"fails ({_first_line(error)})"


def _answer(error: BaseException) -> str | None:
    """What a server has answered; None where the error is not of an answer."""
    found = _STATUS.search(str(error))
    if found is not None:  # in words, or a page
        return _refusal(int(found["status"]), re.sub(r"<[^>]*>", " ", found["body"]))
    found = _RETRIED.fullmatch(str(error))
    if found is not None:
        return _refusal(int(found["status"]), "")
    said = getattr(error, "json", None)
    if isinstance(said, dict):  # an answer as MLflow makes them
        status = getattr(error, "get_http_status_code", lambda: None)() if "error_code" in said else None
        return _refusal(status, str(error))
    status = getattr(getattr(error, "response", None), "status_code", None)
    return None if status is None else _refusal(status, str(error))


def _refusal(status: int | None, said: str) -> str:
    try:
        named = "with an error" if status is None else f"{status} {http.HTTPStatus(status).phrase}"
    except ValueError:  # a status of the server's own
        named = str(status)
    line = _line(said)
    return f"answers {named}" if line in ("", named) else f"answers {named} ({line})"


def _first_line(error: BaseException) -> str:
    """What happened; of a database's words without the driver's name before and the statement after them."""
    line = _line(re.sub(r"^\(\w+(\.\w+)*\) ", "", str(getattr(error, "strerror", None) or error).strip()))
    if type(error).__module__ == "builtins" and not isinstance(error, OSError):
        return f"{type(error).__name__}: {line}"
    return line or type(error).__name__


def _line(text: str) -> str:
    return cut_short(censored(next(filter(None, map(str.strip, text.splitlines())), "")), _MOST)


def _innermost(error: BaseException) -> BaseException:
    """The error at the bottom: the system's, which is the shortest and says the most."""
    *_, last = (one for one in _chain(error) if isinstance(one, _NO_ANSWER))
    return last


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and those it came of, the nearest first; the client's libraries hand some on as arguments only."""
    left, seen = [error], set[int]()
    while left:
        one = left.pop(0)
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        context = None if one.__suppress_context__ else one.__context__
        causes = (one.__cause__, context, getattr(one, "reason", None), *one.args)
        left += [cause for cause in causes if isinstance(cause, BaseException)]
