"""Requests to a Kubernetes API over aiohttp, with retries, and errors in one line.

Plain data in and out: 10,000 writes are 10,000 round trips, and the models of the Kubernetes clients cost more than
the request itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import ssl
import time
import urllib.request
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import aiohttp
import orjson
import tenacity

from proxybench.errors import ApiError, ProxybenchError, UsageError
from proxybench.kube.base import refusal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from proxybench.kube.base import Object

_UNKNOWN: Final = 401
_FORBIDDEN: Final = 403
_TOO_MANY: Final = 429
_SERVER_ERRORS: Final = 500
_REFUSED: Final = 400
_ATTEMPTS: Final = 6
_FIRST_WAIT: Final = 0.1  # seconds; doubles
_LONGEST_ASKED: Final = 30.0  # of a Retry-After
_LONGEST_WAIT: Final = 5.0
_AWAY: Final = 30.0  # seconds in which an API that has answered before may be away, to be started anew
_BLINK: Final = 0.5  # seconds; who breaks connections for less was not started anew
_SETTLED: Final = 10.0  # seconds from its first answer on, until which it may not have read its roles
_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})


class _TransientError(Exception):
    """A failure that may pass; ``wait`` is how long the server asked to be left alone, in seconds."""

    def __init__(self, error: ApiError, wait: float = 0.0) -> None:
        self.error = error
        self.wait = wait
        super().__init__(str(error))


class _Presence:
    """Whether an API that has answered is being started anew: it answers nobody, then forbids what it allowed."""

    def __init__(self) -> None:
        self._known = False
        self._gone: float | None = None
        self._back = -_SETTLED

    def answered(self) -> None:
        now = time.monotonic()
        if self._gone is not None and now - self._gone > _BLINK:
            self._back = now
        self._known, self._gone = True, None

    def missed(self) -> None:
        if self._known and self._gone is None:
            self._gone = time.monotonic()

    def starting(self) -> bool:
        """Return whether it answers again since so short a time that what it refuses may be allowed soon."""
        return time.monotonic() - self._back < _SETTLED

    def awaited(self) -> bool:
        """Return whether it is worth waiting for."""
        return self.starting() or (self._gone is not None and time.monotonic() - self._gone < _AWAY)


@dataclass(frozen=True)
class Trust:
    """Who may vouch for the server (PEM; None: the system's authorities), and the certificate by which it knows us."""

    ca_pem: str | None
    client_pem: str = field(default="", repr=False)

    def context(self) -> ssl.SSLContext | bool:
        """Return what TLS is spoken with. Raises UsageError for a certificate that is none."""
        if not self.ca_pem and not self.client_pem:
            return True
        try:
            made = ssl.create_default_context(cadata=self.ca_pem or None)
        except (ssl.SSLError, ValueError):
            raise UsageError("the certificate authority cannot be used: it is no certificate in PEM") from None
        if self.client_pem:
            # ssl reads certificates from files alone; this one has no name and is gone when it is closed.
            with os.fdopen(os.memfd_create("client"), "wb", 0) as file:
                file.write(self.client_pem.encode())
                try:
                    made.load_cert_chain(f"/proc/self/fd/{file.fileno()}")
                except ssl.SSLError as error:
                    raise UsageError(f"the client certificate cannot be used: {error.reason}") from error
        return made


class Transport:
    """Sends requests; belongs to the event loop that runs when it is made. ``retries`` counts what was sent again."""

    def __init__(
        self,
        url: str,
        token: str | Callable[[str], str],
        *,
        trust: Trust,
        connections: int,
        seconds: float,
        writes_per_second: float = 0.0,
    ) -> None:
        """Prepare for at most ``connections`` at a time; ``seconds`` limits each request.

        ``token`` may be what returns one, told which was refused; it raises ProxybenchError where there is no other.
        """
        self._url = url.rstrip("/")
        self._seconds = seconds
        self._gap = 1 / writes_per_second if writes_per_second else 0.0
        self._next_write = 0.0
        self._renew = None if isinstance(token, str) else token
        self._token = token if isinstance(token, str) else token("")
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=connections, ssl=trust.context()),
            headers={"Accept": "application/json"},
            timeout=aiohttp.ClientTimeout(total=seconds),
        )
        self._proxy = proxy_of(url)
        self._presence = _Presence()
        self.retries = 0

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()

    async def send(
        self,
        method: str,
        path: str,
        *,
        query: dict[str, str] | None = None,
        body: Object | None = None,
        done: frozenset[int] = frozenset(),
    ) -> bytes:
        """Send a request until it is answered for good and return the answer's body.

        ``done`` holds the statuses which, after a first attempt whose answer was lost, mean that it had worked (409
        for a create). Raises ApiError.
        """
        if self._gap and method != "GET":
            await self._turn()
        # The plain attempt stands outside of tenacity, whose bookkeeping costs as much as encoding the object.
        try:
            return await self._once(method, path, query, body)
        except _TransientError as failure:
            first = failure
        try:
            return await self._again(first, method, path, query, body)
        except ApiError as error:
            # After "too many requests" or "forbidden" nothing had been done, so that a conflict is a real one.
            if error.status in done and first.error.status not in {_TOO_MANY, _FORBIDDEN}:
                return b""
            raise

    async def lines(self, path: str, query: dict[str, str], answered: Callable[[], None]) -> AsyncIterator[bytes]:
        """Yield the lines of an answer as they come, until it ends or breaks off; ``answered`` is told that it begins.

        Raises ApiError for a refusal, and, without a status, where there is no answer.
        """
        rest, begun = b"", False
        limit = aiohttp.ClientTimeout(total=None, sock_connect=self._seconds)
        try:
            async with self._session.get(
                self._url + path,
                params=query,
                headers=self._known_by(),
                timeout=limit,
                allow_redirects=False,
                proxy=self._proxy,
            ) as response:
                if response.status >= _REFUSED:
                    raise _refused("GET", path, response.status, await response.read())
                begun = True
                answered()
                async for chunk in response.content.iter_any():
                    *whole, rest = (rest + chunk).split(b"\n")
                    for line in whole:
                        yield line
        except (aiohttp.ClientError, OSError) as error:
            if not begun:
                raise self._unreachable("GET", path, error) from error

    async def _turn(self) -> None:
        """Wait until another write may be sent."""
        now = time.monotonic()
        mine = max(now, self._next_write)
        self._next_write = mine + self._gap
        await asyncio.sleep(mine - now)

    async def _again(
        self, first: _TransientError, method: str, path: str, query: dict[str, str] | None, body: Object | None
    ) -> bytes:
        await asyncio.sleep(max(_FIRST_WAIT, first.wait))
        retrying = tenacity.AsyncRetrying(
            stop=lambda state: state.attempt_number >= _ATTEMPTS - 1 and not self._presence.awaited(),
            wait=_wait,
            retry=tenacity.retry_if_exception_type(_TransientError),
            reraise=True,
        )
        try:
            async for attempt in retrying:
                with attempt:
                    self.retries += 1
                    return await self._once(method, path, query, body)
        except _TransientError as failure:
            raise failure.error from failure
        raise AssertionError("tenacity returns or raises")  # pragma: no cover

    def _known_by(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._token}"} if self._token else {}

    async def _once(self, method: str, path: str, query: dict[str, str] | None, body: Object | None) -> bytes:
        """Send a request once, and once more with another token where the API does not know this one any more."""
        token = self._token
        try:
            return await self._sent(method, path, query, body)
        except ApiError as error:
            if error.status != _UNKNOWN or self._renew is None:
                raise
            try:
                self._token = await asyncio.to_thread(self._renew, token)
            except ProxybenchError as why:
                raise ApiError(f"{error}; there is no other token: {why}", error.status) from why
        return await self._sent(method, path, query, body)

    async def _sent(self, method: str, path: str, query: dict[str, str] | None, body: Object | None) -> bytes:
        data = None if body is None else orjson.dumps(body)
        headers = {**self._known_by(), "Content-Type": "application/json"}
        try:
            async with self._session.request(
                method,
                self._url + path,
                params=query,
                data=data,
                headers=headers,
                allow_redirects=False,
                proxy=self._proxy,
            ) as response:
                answer = await response.read()
        except TimeoutError as error:
            raise _TransientError(ApiError(f"{method} {path}: no answer within {self._seconds:g} s")) from error
        except aiohttp.ClientConnectorCertificateError as error:
            raise ApiError(
                f"{method} {path}: the certificate of {self._url} is not to be trusted: {_why(error)}"
            ) from error
        except (aiohttp.ClientError, OSError) as error:
            self._presence.missed()
            raise _TransientError(self._unreachable(method, path, error)) from error
        self._presence.answered()
        if response.status < _REFUSED:
            return answer
        refused = _refused(method, path, response.status, answer)
        early = response.status == _FORBIDDEN and self._presence.starting()
        if early or response.status == _TOO_MANY or response.status >= _SERVER_ERRORS:
            raise _TransientError(refused, _seconds(response.headers.get("Retry-After")))
        raise refused

    def _unreachable(self, method: str, path: str, error: Exception) -> ApiError:
        cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
        number = cause.errno if isinstance(cause, OSError) else None
        words = os.strerror(number) if number else str(cause) or type(cause).__name__
        # The words of these hold the proxy's address, with its password.
        if isinstance(error, aiohttp.ClientHttpProxyError):
            words = f"the HTTP proxy that the environment names answers {error.status}"
        elif isinstance(error, aiohttp.InvalidURL):
            words = "the HTTP proxy that the environment names has no address such as http://192.0.2.1:3128"
        return ApiError(f"{method} {path}: cannot reach the Kubernetes API at {self._url}: {words}")


def proxy_of(url: str) -> str | None:
    """Return the HTTP proxy that the environment names for a URL; requests to this machine never go through one.

    As kubectl, it heeds networks in NO_PROXY, too ("10.0.0.0/8"). aiohttp would look by itself, but then in the user's
    .netrc as well, whose entry for a host takes the token's place.
    """
    parts, named = urlsplit(url), urllib.request.getproxies()
    host, found = parts.hostname or "", named.get(parts.scheme)
    if not found or host in _LOOPBACK or urllib.request.proxy_bypass(host) or _in_networks(host, named.get("no", "")):
        return None
    return found if "://" in found else f"http://{found}"


def _in_networks(host: str, listed: str) -> bool:
    for word in listed.split(","):
        with contextlib.suppress(ValueError):  # a name, here or there
            if ipaddress.ip_address(host) in ipaddress.ip_network(word.strip(), strict=False):
                return True
    return False


def _why(error: aiohttp.ClientConnectorCertificateError) -> str:
    cause = error.certificate_error
    return cause.verify_message if isinstance(cause, ssl.SSLCertVerificationError) else str(cause)


def _wait(state: tenacity.RetryCallState) -> float:
    doubling = tenacity.wait_random_exponential(multiplier=_FIRST_WAIT, max=_LONGEST_WAIT)(state)
    failure = state.outcome.exception() if state.outcome else None
    return max(doubling, failure.wait if isinstance(failure, _TransientError) else 0.0)


def _refused(method: str, path: str, status: int, data: bytes) -> ApiError:
    found: Any = None
    try:
        found = orjson.loads(data)
    except orjson.JSONDecodeError:
        found = None
    if isinstance(found, dict) and found.get("kind") == "Status":
        return refusal(method, path, status, str(found.get("reason", "")), str(found.get("message", "")))
    return refusal(method, path, status, "error", data[:200].decode(errors="replace") or "no further words")


def _seconds(header: str | None) -> float:
    return min(float(header), _LONGEST_ASKED) if header and header.isdigit() else 0.0
