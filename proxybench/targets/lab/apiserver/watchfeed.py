"""One watch: what is still to be sent, and the loop that sends it."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

import orjson

from proxybench.targets.lab.apiserver.status import StatusError, internal_error

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp import web

    from proxybench.targets.lab.apiserver.eventlog import Event, Stored
    from proxybench.targets.lab.apiserver.options import WatchOptions
    from proxybench.targets.lab.apiserver.paths import Target
    from proxybench.targets.lab.apiserver.store import Store

_LOG: Final = logging.getLogger(__name__)
_INITIAL_END: Final = {"k8s.io/initial-events-end": "true"}
_EVENT_HEAD: Final = {kind: b'{"type":"' + kind.encode() + b'","object":' for kind in ("ADDED", "MODIFIED", "DELETED")}


class WatchFeed:
    """What one watch has still to send, as bytes."""

    def __init__(self, store: Store, target: Target, wanted: WatchOptions) -> None:
        self._store = store
        self._target = target
        self._selection = wanted.selection
        self._wanted = wanted
        # A watch that names no version and wants no initial events starts now.
        self._version = wanted.version or store.version

    def first(self) -> bytes:
        """Return the state at the start, for a watch that begins with it."""
        if not self._wanted.initial:
            return b""
        found = self._store.select(self._target.resource, self._target.namespace, self._selection)
        self._version = self._store.version
        lines = b"".join(self._line("ADDED", item) for item in found)
        return lines + self.bookmark(_INITIAL_END) if self._wanted.marks_end else lines

    def news(self) -> bytes:
        """Return the events since the last call. Raises StatusError (410)."""
        events = self._store.events_after(self._target.resource, self._version)
        if not events:
            return b""
        self._version = events[-1].version
        return b"".join(self._event(event) for event in events)

    def bookmark(self, annotations: Mapping[str, str] | None = None) -> bytes:
        """Return a BOOKMARK: nothing older than its version has to be sent again."""
        self._version = self._store.version
        target = self._target
        obj = {
            "kind": target.resource.kind,
            "apiVersion": target.resource.api_version(target.version),
            "metadata": {
                "resourceVersion": str(self._version),
                "creationTimestamp": None,
                **({"annotations": annotations} if annotations else {}),
            },
        }
        return orjson.dumps({"type": "BOOKMARK", "object": obj}) + b"\n"

    def _event(self, event: Event) -> bytes:
        seen = event.seen_by(self._target.namespace, self._selection)
        return self._line(seen, event.now) if seen else b""

    def _line(self, kind: str, item: Stored) -> bytes:
        return _EVENT_HEAD[kind] + item.encoded(self._target.version) + b"}\n"


async def stream_watch(
    response: web.StreamResponse,
    feed: WatchFeed,
    changed: asyncio.Event,
    *,
    seconds: float,
    bookmark_seconds: float,
) -> None:
    """Write what there is, wait for more, until the time is over or an error ends the watch."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    try:
        data = feed.first()
        while True:
            changed.clear()
            data += feed.news()
            if data:
                await response.write(data)
            data = b""
            if changed.is_set():
                continue
            left = end - loop.time()
            if left <= 0:
                return
            try:
                await asyncio.wait_for(changed.wait(), min(left, bookmark_seconds))
            except TimeoutError:
                if left > bookmark_seconds:
                    # Whatever came in the meantime must go out before the bookmark that covers it.
                    data = feed.news() + feed.bookmark()
    except StatusError as error:
        await response.write(_error(error))
    except ConnectionError:
        raise
    except Exception as error:  # noqa: BLE001 - the answer has begun: only an event can tell
        _LOG.exception("a watch failed")
        await response.write(_error(internal_error(f"{type(error).__name__}: {error}")))


def _error(error: StatusError) -> bytes:
    return orjson.dumps({"type": "ERROR", "object": error.body}) + b"\n"
