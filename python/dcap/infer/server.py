"""A server that is asked over HTTP: its address, requests that are sent again, and bounds on what it says.

The standard library does it, so that dcap needs no further package. Proxies of the environment are not used, and
redirects are not followed: the key goes to the address that was given, and nowhere else.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from socket import SHUT_RDWR
from typing import Any
from urllib.parse import SplitResult, urlsplit

import msgspec

from dcap import __version__
from dcap.core.errors import ConfigError, ServerError
from dcap.core.log import get_logger
from dcap.core.words import printable, show

log = get_logger(__name__)

API_KEY = "DCAP_API_KEY"
"""Environment variable with the key of the server."""
MAX_REPLY_BYTES = 64 << 20
"""Longest body that is read: longer than any answer with its log-probabilities."""
_PIECE = 1 << 16
"""Bytes that are read at a time."""
_HEAD_WAITS = 2
"""Times the wait for a sign of life that the head of a reply may take: it comes at once, after the answer is made."""
_MAX_SAID = 300
_UNAUTHORIZED = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
_PASSING = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS)
_BUSY = (*_PASSING, HTTPStatus.SERVICE_UNAVAILABLE)


class RefusedRequestError(ServerError):
    """A request that the server refuses (HTTP 4xx). It would refuse it again; others may be fine."""

    def __init__(self, message: str, status: int, said: str) -> None:
        super().__init__(message)
        self.status, self.said = status, said


class UnansweredError(ServerError):
    """A request that went wrong at each try. `status` is the last one heard, `None` if the last try heard none."""

    def __init__(self, message: str, status: int | None) -> None:
        super().__init__(message)
        self.status = status

    @property
    def is_busy(self) -> bool:
        """Whether the server has no time for any request now; this one has no part in that."""
        return self.status in _BUSY

    @property
    def is_broken(self) -> bool:
        """Whether the server fails by itself (HTTP 5xx)."""
        return self.status is not None and self.status >= HTTPStatus.INTERNAL_SERVER_ERROR


class _PassingError(Exception):
    """What may go well at the next try."""

    def __init__(self, message: str, status: int | None = None, wait_s: float | None = None) -> None:
        super().__init__(message)
        self.status, self.wait_s = status, wait_s


@dataclass(frozen=True, slots=True)
class Backoff:
    """How often a request is sent, and how long to wait in between."""

    attempts: int = 6
    """Number of tries in all."""
    first_s: float = 0.5
    """Longest wait after the first try; it doubles with each further one."""
    most_s: float = 30.0
    """Longest wait of all."""
    most_asked_s: float = 300.0
    """Longest wait that a server may ask for (``Retry-After``)."""
    sleep: Callable[[float], object] = time.sleep
    """Waits so many seconds."""

    def wait(self, attempt: int, asked_s: float | None) -> None:
        """Wait after a try.

        Args:
            attempt: Number of the try, from 0.
            asked_s: Seconds that the server asks for, if it does.
        """
        longest = min(self.first_s * 2**attempt, self.most_s)
        # Drawn, so that requests that failed together do not come together again.
        seconds = random.uniform(longest / 2, longest) if asked_s is None else min(asked_s, self.most_asked_s)
        self.sleep(seconds)


class Server:
    """A server that speaks JSON over HTTP.

    Args:
        url: Its address, ``http://localhost:8000/v1``; ``/v1`` may be left out.
        api_key: Sent as bearer token. `None`: the environment variable ``DCAP_API_KEY``, if there is one.
        timeout_s: Seconds without a sign of life after which a request is sent again; and seconds that a reply may take
            to arrive once it has begun. Its head may take twice as many.
        backoff: How often a request is sent.

    Raises:
        ConfigError: The address is no http or https one, or holds a name and password; or the key cannot be sent.
    """

    def __init__(
        self, url: str, *, api_key: str | None = None, timeout_s: float = 600.0, backoff: Backoff | None = None
    ) -> None:
        parts = _parse(url)
        self._host, self._port, self._secure = str(parts.hostname), parts.port, parts.scheme == "https"
        path = parts.path.rstrip("/")
        self._path = path if path.endswith("/v1") else f"{path}/v1"
        self.address = f"{parts.scheme}://{parts.netloc}{self._path}"
        self._key = os.environ.get(API_KEY, "") if api_key is None else api_key
        if not all("!" <= letter <= "~" for letter in self._key):
            raise ConfigError(f"key of the server ({API_KEY}) must be letters, digits and signs without blanks, and is "
                              "not")  # fmt: skip
        self.timeout_s, self.backoff = timeout_s, backoff or Backoff()
        # Taken by the first request that is sent again, and kept.
        self._told = threading.Lock()

    def __str__(self) -> str:
        return printable(self.address)

    def get(self, path: str, attempts: int | None = None, timeout_s: float | None = None) -> Any:
        """Return the JSON value of a path, such as ``/models``; as `post`.

        Raises:
            ServerError: As `post`.
            UnansweredError: As `post`.
            RefusedRequestError: As `post`.
        """
        return self._send("GET", path, None, attempts, timeout_s)

    def post(self, path: str, tree: Any, attempts: int | None = None, timeout_s: float | None = None) -> Any:
        """Send a JSON value and return the one that comes back.

        It is sent again after a refused connection, a cut or missing reply, and the statuses 408, 425, 429 and 5xx.
        The first time in the life of this object, a warning says so.

        Args:
            path: Such as ``/chat/completions``.
            tree: Plain data.
            attempts: Number of tries. `None`: that of the backoff.
            timeout_s: Seconds to wait for a sign of life, if fewer than those of the server.

        Raises:
            ServerError: The key is wrong, there is nothing at this path, or the reply is no JSON.
            UnansweredError: No try went well.
            RefusedRequestError: The server refuses this request.
        """
        return self._send("POST", path, msgspec.json.encode(tree), attempts, timeout_s)

    def _send(self, method: str, path: str, data: bytes | None, attempts: int | None, timeout_s: float | None) -> Any:
        number = self.backoff.attempts if attempts is None else attempts
        timeout = self.timeout_s if timeout_s is None else min(timeout_s, self.timeout_s)
        for attempt in range(number):
            try:
                return self._once(method, path, data, timeout)
            except _PassingError as error:
                what = error
            if attempt + 1 < number:
                tell = log.warning if self._told.acquire(blocking=False) else log.debug
                tell("%s%s: %s; sent again", self, path, what)
                self.backoff.wait(attempt, what.wait_s)
        tries = "the first try" if number == 1 else f"{number} tries"
        raise UnansweredError(
            f"{self} must answer, and did not at {tries}: {what}. Start the server, or correct its address", what.status
        )

    def _once(self, method: str, path: str, data: bytes | None, timeout_s: float) -> Any:
        kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
        connection = kind(self._host, self._port, timeout=timeout_s)
        headers = {"Accept": "application/json", "User-Agent": f"dcap/{__version__}"}
        if data is not None:
            headers["Content-Type"] = "application/json"
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        try:
            connection.request(method, self._path + path, data, headers)
            with _ended_after(connection, _HEAD_WAITS * timeout_s):
                response = connection.getresponse()
            # The connection does not close a reply that only its end bounds.
            with response:
                size = response.length
                body = _body(response, timeout_s)
        except TimeoutError:
            raise _PassingError(f"no sign of life for {timeout_s:g} seconds") from None
        except (OSError, http.client.HTTPException, UnicodeError) as error:  # the last of a host name that is too long
            raise _PassingError(self._shown(str(error)) or type(error).__name__) from None
        finally:
            connection.close()
        if size is not None and len(body) < min(size, MAX_REPLY_BYTES):
            raise _PassingError("its reply was cut off")
        if len(body) > MAX_REPLY_BYTES:
            raise ServerError(f"{self} must send at most {MAX_REPLY_BYTES} bytes, and sends more")
        if response.status != HTTPStatus.OK:
            self._fail(path, response, body)
        try:
            return msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            said = self._shown(body.decode("utf-8", "replace"))
            if size is None and not response.chunked:
                # Nothing but its end tells how long such a reply is.
                raise _PassingError(f"its reply is cut off, or no JSON: {said!r}") from None
            raise ServerError(
                f"{self}{path} must answer in JSON, as a server that speaks OpenAI's protocol does, not with {said!r}. "
                "Correct the address, or give another server"
            ) from None

    def _fail(self, path: str, response: http.client.HTTPResponse, body: bytes) -> None:
        """Raise the error that a status means."""
        status, said = response.status, self._shown(_message(body))
        heard = f"status {status}" + (f": {said}" if said else "")
        if status in _PASSING or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise _PassingError(heard, status, _retry_after(response.headers.get("Retry-After")))
        if status in _UNAUTHORIZED:
            raise ServerError(
                f"{self} must accept the key in the environment variable {API_KEY}, and does not ({heard})"
            )
        if status < HTTPStatus.BAD_REQUEST:
            raise ServerError(f"{self}{path} must answer with status 200, not {heard}. Correct the address")
        raise RefusedRequestError(f"{self}{path} must accept the request, and refuses it ({heard})", status, said)

    def _shown(self, text: str) -> str:
        """Return a text of the server for messages: one line, not long, and without the key."""
        # The key goes before anything is cut: a part of it would no longer be found.
        if self._key:
            text = text.replace(self._key, "***")
        text = printable(text.strip()[: _MAX_SAID + 1])
        return text if len(text) <= _MAX_SAID else f"{text[:_MAX_SAID]}..."


@contextlib.contextmanager
def _ended_after(connection: http.client.HTTPConnection, seconds: float) -> Iterator[None]:
    """End a connection while its reply does not begin. A server that sends a byte now and then would else never end."""
    socket, late = connection.sock, threading.Event()

    def end() -> None:
        late.set()
        with contextlib.suppress(OSError):  # closed meanwhile
            socket.shutdown(SHUT_RDWR)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    except (OSError, http.client.HTTPException):
        if not late.is_set():
            raise
    finally:
        timer.cancel()
    if late.is_set():
        raise _PassingError(f"its reply took more than {seconds:g} seconds to begin")


def _body(response: http.client.HTTPResponse, most_s: float) -> bytes:
    """Return the body of a reply, or more than `MAX_REPLY_BYTES` of it.

    Args:
        response: The reply. Its head has been read.
        most_s: Seconds that the body may take. A server that sends a byte now and then would else never end.
    """
    end = time.monotonic() + most_s
    body = bytearray()
    while len(body) <= MAX_REPLY_BYTES and (piece := response.read1(_PIECE)):
        body += piece
        if time.monotonic() > end:
            raise _PassingError(f"its reply took more than {most_s:g} seconds to arrive")
    return bytes(body)


def _parse(url: str) -> SplitResult:
    """Return the parts of an address; messages never show what may be a password."""
    must = "address of the server must be http:// or https:// with a host, such as http://localhost:8000/v1"
    if "@" in url:
        raise ConfigError(f"address of the server must hold no name or password. Put a key in the environment variable "
                          f"{API_KEY}")  # fmt: skip
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ConfigError(f"{must}. Its host or port cannot be read") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise ConfigError(f"{must}, not {printable(url)[:_MAX_SAID]}")
    if parts.query or parts.fragment or any(not "!" <= letter <= "~" for letter in url):
        raise ConfigError("address of the server must end with its path, without ?, # and blanks")
    return parts


def _message(body: bytes) -> str:
    """Return what a server says about an error: the field that servers agree on, else the whole body."""
    with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        tree = msgspec.json.decode(body)
        tree = tree.get("error", tree) if isinstance(tree, dict) else tree
        for name in ("message", "detail"):
            if isinstance(tree, dict) and name in tree:
                return tree[name] if isinstance(tree[name], str) else show(tree[name], _MAX_SAID)
    return body.decode("utf-8", "replace")


def _retry_after(text: str | None) -> float | None:
    """Return the seconds that a ``Retry-After`` asks for: a number of them, or a date."""
    if text is None:
        return None
    with contextlib.suppress(ValueError, TypeError, OverflowError):
        return max(
            0.0, float(int(text)) if text.strip().isdigit() else parsedate_to_datetime(text).timestamp() - time.time()
        )
    return None
