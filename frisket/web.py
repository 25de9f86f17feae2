"""Asking a server something over HTTP, with a secret in the request."""

from __future__ import annotations

import contextlib
import http.client
import urllib.request
from collections.abc import Iterator, Mapping


class _Nowhere(urllib.request.HTTPRedirectHandler):
    """Leaves a redirect to be an `urllib.error.HTTPError`: the standard one takes the headers along to any host."""

    def redirect_request(self, *args: object, **named: object) -> None:
        return None


@contextlib.contextmanager
def answer(url: str, headers: Mapping[str, str], seconds: float) -> Iterator[http.client.HTTPResponse]:
    """The answer to GET ``url``, from the server that is asked and from no other: redirects are not followed.

    Raises:
        urllib.error.HTTPError: the code of the answer is not 200 to 299, of a redirect for example.
        OSError, http.client.HTTPException, ValueError: no answer within ``seconds``, or ``url`` is none.
    """
    opener = urllib.request.build_opener(_Nowhere)
    with opener.open(urllib.request.Request(url, headers=dict(headers)), timeout=seconds) as found:
        yield found
