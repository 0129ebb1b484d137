"""List and watch for a control loop: what client-go's reflector does, with the standard library.

Only http.client and orjson: this runs inside the reference proxier, whose start in a slow virtual machine is part of
what is measured, and aiohttp or a Kubernetes client would add seconds to it. ``ssl`` is loaded for https only.
"""

from __future__ import annotations

import http.client
import logging
import socket
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode, urlsplit

import orjson

from refproxy.errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Object = dict[str, Any]

_LOG: Final = logging.getLogger(__name__)
_PAGE: Final = 500
_WATCH_SECONDS: Final = 300  # then the watch is opened anew from where it was
_CHUNK: Final = 1 << 16
_OK: Final = 200
_GONE: Final = 410


@dataclass(frozen=True)
class Patience:
    """How a reflector waits, in seconds: after a first failure, doubling up to the longest wait.

    ``silence`` without even a bookmark means that the connection is dead.
    """

    first_wait: float = 0.2
    longest_wait: float = 5.0
    silence: float = 90.0


_PATIENCE: Final = Patience()


class Reflector:
    """A thread that tells the state of one collection, and then every change of it, for as long as it runs.

    ``path`` is a collection ("/api/v1/services"), ``label_selector`` narrows it. ``on_list`` is called with all
    objects at the start and whenever the history was lost (410, or a broken connection); ``on_event`` with ADDED,
    MODIFIED or DELETED and the object. Both are called in the reflector's thread and should not raise.
    Failures, foreseen or not, are logged and tried again as ``patience`` says.
    """

    def __init__(
        self,
        url: str,
        token: str,
        path: str,
        on_list: Callable[[list[Object]], None],
        on_event: Callable[[str, Object], None],
        *,
        label_selector: str = "",
        ca_file: str | None = None,
        patience: Patience = _PATIENCE,
    ) -> None:
        """Prepare; ``start`` begins."""
        self.path = path
        self._url = urlsplit(url)
        self._headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
        self._on_list = on_list
        self._on_event = on_event
        self._selector = {"labelSelector": label_selector} if label_selector else {}
        self._ca_file = ca_file
        self._patience = patience
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._thread = threading.Thread(target=self._run, name=f"reflector {path}", daemon=True)

    @property
    def alive(self) -> bool:
        """Whether the thread runs: from ``start`` to ``stop``."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin with the first list."""
        self._thread.start()

    def stop(self, timeout: float = 5.0) -> None:
        """End the thread, also out of the middle of a read; return when it has ended or after ``timeout`` seconds."""
        self._stopped.set()
        with self._lock:
            if self._socket is not None:
                # The thread sits in recv(): a shutdown wakes it, a close would not.
                _shutdown(self._socket)
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(timeout)

    def _run(self) -> None:
        wait = self._patience.first_wait
        while not self._stopped.is_set():
            connection = None
            try:
                connection = self._connect()
                version = self._list(connection)
                wait = self._patience.first_wait
                while not self._stopped.is_set():
                    version = self._watch(connection, version)
            except _HistoryLostError:
                # Not at once: a server that forgets faster than we list would be listed without end.
                self._stopped.wait(self._patience.first_wait)
            except (OSError, http.client.HTTPException, ApiError, orjson.JSONDecodeError) as error:
                if self._stopped.is_set():
                    return
                _LOG.warning("%s: %s; listing again in %g s", self.path, str(error) or type(error).__name__, wait)
                wait = self._pause(wait)
            except Exception:  # noqa: BLE001 - logged and tried again
                # An answer that no API server gives, or a mistake of ours; a thread that ends is missed by nobody.
                _LOG.exception("%s: unexpected; listing again in %g s", self.path, wait)
                wait = self._pause(wait)
            finally:
                self._release(connection)

    def _pause(self, wait: float) -> float:
        """Wait, and return for how long to wait the next time."""
        self._stopped.wait(wait)
        return min(2 * wait, self._patience.longest_wait)

    def _connect(self) -> http.client.HTTPConnection:
        host, port = self._url.hostname or "", self._url.port
        connection: http.client.HTTPConnection
        if self._url.scheme == "https":
            import ssl  # noqa: PLC0415 - costs tens of milliseconds that a lab's plain http does not need

            context = ssl.create_default_context(cafile=self._ca_file)
            connection = http.client.HTTPSConnection(host, port, timeout=self._patience.silence, context=context)
        else:
            connection = http.client.HTTPConnection(host, port, timeout=self._patience.silence)
        connection.connect()
        with self._lock:
            self._socket = connection.sock
        if self._stopped.is_set():
            _shutdown(connection.sock)
        return connection

    def _release(self, connection: http.client.HTTPConnection | None) -> None:
        with self._lock:
            self._socket = None
        if connection is not None:
            connection.close()

    def _get(self, connection: http.client.HTTPConnection, query: dict[str, str]) -> http.client.HTTPResponse:
        connection.request("GET", f"{self.path}?{urlencode(query | self._selector)}", headers=self._headers)
        response = connection.getresponse()
        if response.status == _OK:
            return response
        body = response.read()
        raise _HistoryLostError if response.status == _GONE else ApiError(_refusal(response, body), response.status)

    def _list(self, connection: http.client.HTTPConnection) -> str:
        """Read all pages, hand the objects over, and return the version that they are of."""
        objects: list[Object] = []
        query = {"limit": str(_PAGE), "resourceVersion": "0"}
        while True:
            page = orjson.loads(self._get(connection, query).read())
            if not isinstance(page, dict) or not {"items", "metadata"} <= page.keys():
                raise ApiError("the answer is no list: it lacks items or metadata")
            objects += page["items"] or ()
            token = page["metadata"].get("continue")
            if not token:
                self._on_list(objects)
                return str(page["metadata"]["resourceVersion"])
            query = {"limit": str(_PAGE), "continue": token}

    def _watch(self, connection: http.client.HTTPConnection, version: str) -> str:
        """Tell changes until the server ends the watch; return the version from which to go on."""
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(_WATCH_SECONDS),
            "resourceVersion": version,
        }
        for line in _lines(self._get(connection, query)):
            event = orjson.loads(line)
            kind, obj = event["type"], event["object"]
            if kind == "ERROR":
                if obj.get("code") == _GONE:
                    raise _HistoryLostError
                raise ApiError(f"{obj.get('code')} {obj.get('reason')}: {obj.get('message')}", obj.get("code"))
            version = obj["metadata"]["resourceVersion"]
            if self._stopped.is_set():
                break
            if kind != "BOOKMARK":
                self._on_event(kind, obj)
        return version


class _HistoryLostError(Exception):
    """410: what happened since the last known version is forgotten; only a new list can help."""


def _lines(response: http.client.HTTPResponse) -> Iterator[bytes]:
    """Yield the lines of a chunked body as they come; a cut one at the end is an error of the connection."""
    rest = b""
    # read1 gives what there is, line by line in large pieces; readline would work through every chunk in Python.
    while piece := response.read1(_CHUNK):
        *lines, rest = (rest + piece).split(b"\n")
        yield from lines
    if rest:
        raise ConnectionError("the watch ended in the middle of a line")


def _refusal(response: http.client.HTTPResponse, body: bytes) -> str:
    try:
        message = orjson.loads(body)["message"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        message = response.reason
    return f"{response.status}: {message}"


def _shutdown(connected: socket.socket) -> None:
    try:
        connected.shutdown(socket.SHUT_RDWR)
    except OSError:
        _LOG.debug("the connection was already closed")
