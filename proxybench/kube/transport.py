"""Requests to a Kubernetes API: one seam over kubernetes_asyncio, with retries and errors in one line.

kubernetes_asyncio was chosen because it is the maintained asyncio client for Kubernetes: 10,000 writes one after the
other are 10,000 round trips. Its generated models are left aside (they cost more than the request); its
``ApiClient.call_api`` takes and gives plain data.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import aiohttp
import orjson
import tenacity
from kubernetes_asyncio.client import ApiClient, Configuration

from proxybench.errors import ApiError
from proxybench.kube.base import refusal

if TYPE_CHECKING:
    from pathlib import Path

    from proxybench.kube.base import Object

_TOO_MANY: Final = 429
_SERVER_ERRORS: Final = 500
_REFUSED: Final = 400
_ATTEMPTS: Final = 6
_FIRST_WAIT: Final = 0.1  # seconds; doubles
_LONGEST_WAIT: Final = 5.0
_LINE_BUFFER: Final = 2**21  # bytes: a watch event is one line, and an Endpoints object may hold 10,000 addresses
_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})


class _TransientError(Exception):
    """A failure that may pass; ``wait`` is how long the server asked to be left alone, in seconds."""

    def __init__(self, error: ApiError, wait: float = 0.0) -> None:
        self.error = error
        self.wait = wait
        super().__init__(str(error))


class Transport:
    """Sends requests; belongs to the event loop in which it was made. ``retries`` counts what was sent again."""

    def __init__(self, url: str, token: str, *, ca_file: Path | None, connections: int, seconds: float) -> None:
        """Prepare for at most ``connections`` at a time; ``seconds`` limits each request."""
        configuration = Configuration(host=url.rstrip("/"))
        configuration.connection_pool_maxsize = connections
        configuration.ssl_ca_cert = str(ca_file) if ca_file else None
        self._url = url
        self._seconds = seconds
        self._client = ApiClient(configuration)
        self._client.set_default_header("Authorization", f"Bearer {token}")
        self._client.set_default_header("Accept", "application/json")
        # Everything sent here is plain data already; walking through it again costs 25 of some 260 µs a request.
        self._client.sanitize_for_serialization = _as_it_is
        self.retries = 0

    async def open(self) -> None:
        """Keep requests to this machine away from any HTTP proxy that the environment names."""
        if urlsplit(self._url).hostname not in _LOOPBACK:
            return
        rest = self._client.rest_client
        await rest.pool_manager.close()
        connector = aiohttp.TCPConnector(limit=self._client.configuration.connection_pool_maxsize)
        rest.pool_manager = aiohttp.ClientSession(connector=connector, trust_env=False, read_bufsize=_LINE_BUFFER)

    async def close(self) -> None:
        """Close all connections."""
        await self._client.close()

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
        # The plain attempt stands outside of tenacity, whose bookkeeping costs as much as encoding the object.
        try:
            return await self._once(method, path, query, body)
        except _TransientError as failure:
            first = failure
        try:
            return await self._again(first, method, path, query, body)
        except ApiError as error:
            # After "too many requests" nothing had been done, so that a conflict is a real one.
            if error.status in done and first.error.status != _TOO_MANY:
                return b""
            raise

    async def stream(self, path: str, query: dict[str, str], seconds: float) -> aiohttp.ClientResponse:
        """Open a watch; ``seconds`` limits its whole life. Raises ApiError."""
        try:
            response = await self._call("GET", path, query, None, seconds)
        except (aiohttp.ClientError, OSError) as error:
            raise self._unreachable("GET", path, error) from error
        if response.status >= _REFUSED:
            raise _refused("GET", path, response.status, await response.read())
        return response

    async def _again(
        self, first: _TransientError, method: str, path: str, query: dict[str, str] | None, body: Object | None
    ) -> bytes:
        await asyncio.sleep(max(_FIRST_WAIT, first.wait))
        retrying = tenacity.AsyncRetrying(
            stop=tenacity.stop_after_attempt(_ATTEMPTS - 1),
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

    async def _once(self, method: str, path: str, query: dict[str, str] | None, body: Object | None) -> bytes:
        try:
            response = await self._call(method, path, query, body, self._seconds)
            status = response.status
            data = await response.read()
        except TimeoutError as error:
            raise _TransientError(ApiError(f"{method} {path}: no answer within {self._seconds:g} s")) from error
        except (aiohttp.ClientError, OSError) as error:
            raise _TransientError(self._unreachable(method, path, error)) from error
        if status < _REFUSED:
            return data
        refused = _refused(method, path, status, data)
        if status == _TOO_MANY or status >= _SERVER_ERRORS:
            raise _TransientError(refused, _seconds(response.headers.get("Retry-After")))
        raise refused

    async def _call(
        self, method: str, path: str, query: dict[str, str] | None, body: Object | None, seconds: float
    ) -> aiohttp.ClientResponse:
        response: aiohttp.ClientResponse = await self._client.call_api(
            path,
            method,
            query_params=list(query.items()) if query else None,
            header_params={"Content-Type": "application/json"},
            body=body,
            _preload_content=False,
            _request_timeout=seconds,
        )
        return response

    def _unreachable(self, method: str, path: str, error: Exception) -> ApiError:
        cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
        number = cause.errno if isinstance(cause, OSError) else None
        words = os.strerror(number) if number else str(cause) or type(cause).__name__
        return ApiError(f"{method} {path}: cannot reach the Kubernetes API at {self._url}: {words}")


def _as_it_is(data: Any) -> Any:  # noqa: ANN401 - stands in for a method of an untyped package
    return data


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
    return min(float(header), _LONGEST_WAIT) if header and header.isdigit() else 0.0
