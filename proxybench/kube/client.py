"""The real ServiceApi: a synchronous face on an event loop that runs in a thread of its own."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
import time
from math import ceil
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self, TypeVar

import orjson
import uvloop

from proxybench.errors import ApiError
from proxybench.kube.base import Bulk, Kind, Ref, is_leaving
from proxybench.kube.objects import namespace
from proxybench.kube.resources import BY_KIND
from proxybench.kube.transport import Transport, Trust

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence

    from proxybench.kube.base import Object

_CONNECTIONS: Final = 32  # more do not help on two cores: client and server are both busy by then
_PAGE: Final = 500
_LISTS: Final = 3  # attempts at a list whose pages expire under it
_PROGRESS_SECONDS: Final = 0.2
_CHANGES: Final = frozenset({"ADDED", "MODIFIED", "DELETED"})
_WATCH_LEAST: Final = 0.05  # a sleep may end a moment early
_WATCH_AGAIN: Final = 1.0  # seconds from the end of a watch to the next one
_WATCH_LATE: Final = 10.0  # seconds in which the server must have ended a watch whose time is up
_CLOSE_SECONDS: Final = 15.0
_Result = TypeVar("_Result")
_FORBIDDEN: Final = 403
_CONFLICT: Final = 409
_GONE: Final = 410
_NOT_FOUND: Final = 404
_NO_METHOD: Final = 405
_CLOSED: Final = "the connection to the Kubernetes API was closed"


class _Call(NamedTuple):
    """One request of a bulk; ``fine`` holds the statuses that are as good as success."""

    method: str
    path: str
    body: Object | None
    fine: frozenset[int]
    fine_again: frozenset[int]


class KubernetesServiceApi:
    """A Kubernetes API at ``url``, reached with a bearer token ("" for none), or by what returns one that is good.

    That is told which token was refused (401), "" for none, and raises ProxybenchError where there is no other.

    ``ca_pem`` holds the authorities that may vouch for its certificate (None: the system's). ``client_pem`` is a client
    certificate with its key. ``writes_per_second`` spaces out what is written (0: not). ``request_seconds`` limits
    each request, ``bulk_seconds`` each call of this class. 429, 5xx and broken connections are tried again, up to six
    times; where the API had answered before, until it is away for 30 s, and what it then forbids for 10 s, until it has
    read its roles. Raises ApiError, also for what is asked, or still waits, when ``close`` is called, by any thread.
    """

    def __init__(
        self,
        url: str,
        token: str | Callable[[str], str],
        *,
        ca_pem: str | None = None,
        client_pem: str = "",
        writes_per_second: float = 0.0,
        connections: int = _CONNECTIONS,
        request_seconds: float = 30.0,
        bulk_seconds: float = 600.0,
    ) -> None:
        """Start the event loop; nothing is sent yet."""
        self._connections = connections
        self._bulk_seconds = bulk_seconds
        self._loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="kubernetes-api", daemon=True)
        self._thread.start()
        self._closed = False
        self._closing = threading.Lock()
        self._transport: Transport = self._do(
            self._open(
                url,
                token,
                trust=Trust(ca_pem, client_pem),
                connections=connections,
                seconds=request_seconds,
                writes_per_second=writes_per_second,
            )
        )

    def ensure_namespace(self, name: str) -> None:
        """Create the namespace with our label unless it is there; who may not create any may use one that is there.

        One that is being deleted takes nothing, and is refused.
        """
        path = BY_KIND[Kind.NAMESPACE].path()
        try:
            self._bulk([_Call("POST", path, namespace(name), frozenset(), frozenset({_CONFLICT}))])
        except ApiError as error:
            if error.status not in {_FORBIDDEN, _CONFLICT}:
                raise
            try:
                found = self.ask("GET", f"{path}/{name}")
            except ApiError as unseen:
                if (error.status, unseen.status) == (_CONFLICT, _FORBIDDEN):  # it is there
                    return
                raise error from None
            if is_leaving(found):
                raise ApiError(f"the namespace {name} is being deleted; try again when it is gone", _CONFLICT) from None

    def create_many(self, objects: Sequence[Object], progress: Callable[[int, int], None] | None = None) -> Bulk:
        """Create objects in no particular order; return when all are acknowledged. A name that is taken is an error."""
        return self._bulk([_create(obj) for obj in objects], progress)

    def replace_many(self, objects: Sequence[Object], progress: Callable[[int, int], None] | None = None) -> Bulk:
        """Replace objects of any version, or the version that they carry; a missing one is an error."""
        calls = [_Call("PUT", _object_path(Ref.of(obj)), obj, frozenset(), frozenset()) for obj in objects]
        return self._bulk(calls, progress)

    def delete_many(self, refs: Sequence[Ref], progress: Callable[[int, int], None] | None = None) -> Bulk:
        """Delete objects; one that is already gone is no error."""
        gone = frozenset({_NOT_FOUND})
        return self._bulk([_Call("DELETE", _object_path(ref), None, gone, frozenset()) for ref in refs], progress)

    def delete_collection(self, kind: Kind, namespace: str, label: str) -> None:
        """Delete all objects of a kind in a namespace that a label selector selects.

        Where the API has no such verb (Services before Kubernetes 1.23), they are deleted one by one.
        """
        path = BY_KIND[kind].path(namespace)
        try:
            self._do(self._transport.send("DELETE", path, query={"labelSelector": label}))
        except ApiError as error:
            if error.status != _NO_METHOD:
                raise
            names = [str(found["metadata"]["name"]) for found in self.list(kind, namespace, label)]
            self.delete_many([Ref(kind, namespace, name) for name in names])

    def list(self, kind: Kind, namespace: str = "", label: str = "") -> Sequence[Object]:
        """Return all objects of a kind in a namespace ("" for all) that a label selector selects."""
        return self._do(self._list(BY_KIND[kind].path(namespace), label))

    def ask(self, method: str, path: str, body: Object | None = None) -> Object:
        """Send one request for any object, and return the answer."""
        answer: Object = orjson.loads(self._do(self._transport.send(method, path, body=body)))
        return answer

    def watch(self, seen: Mapping[str, Callable[[str], None]], label: str, seconds: float) -> float:
        """Watch collections, by path, for what happens to the objects that a label selector selects.

        Each one's function is told ADDED, MODIFIED or DELETED, from a thread of this class. Returns for how many
        seconds all were watched, from the API's answer on: a watch that it ends is opened anew, and what happens in
        between is not seen. Raises ApiError also where none was ever answered.
        """
        feeds = (self._watch(path, label, seconds, tell) for path, tell in seen.items())
        return min(self._do(_all(feeds), limit=seconds + self._bulk_seconds))

    def close(self) -> None:
        """Let go of all connections. Never raises."""
        with self._closing:
            if self._closed:
                return
            self._closed = True
        try:
            asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(_CLOSE_SECONDS)
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(_CLOSE_SECONDS)
            self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def _open(self, url: str, token: str | Callable[[str], str], **limits: Any) -> Transport:  # noqa: ANN401 - Transport names them
        return Transport(url, token, **limits)

    async def _end(self) -> None:
        """End what other threads still wait for, then the connections."""
        waited = asyncio.all_tasks() - {asyncio.current_task()}
        for task in waited:
            task.cancel()
        await asyncio.gather(*waited, return_exceptions=True)
        await self._transport.close()

    def _do(
        self,
        work: Coroutine[Any, Any, _Result],
        report: Callable[[], None] | None = None,
        limit: float | None = None,
    ) -> _Result:
        """Run a coroutine in the event loop and wait for it, reporting now and then from this thread."""
        with self._closing:
            if self._closed:
                work.close()
                raise ApiError(_CLOSED)
            future = asyncio.run_coroutine_threadsafe(work, self._loop)
        limit = limit or self._bulk_seconds
        end = time.monotonic() + limit
        try:
            while not concurrent.futures.wait([future], _PROGRESS_SECONDS).done:
                if report is not None:
                    report()
                if time.monotonic() > end:
                    raise ApiError(f"the Kubernetes API has not finished within {limit:g} s")
            return future.result()
        except concurrent.futures.CancelledError:
            raise ApiError(_CLOSED) from None
        except BaseExceptionGroup as group:
            raise _first(group) from group
        finally:
            future.cancel()

    def _bulk(self, calls: Sequence[_Call], progress: Callable[[int, int], None] | None = None) -> Bulk:
        """Send all calls, ``connections`` at a time; the first refusal ends the rest."""
        done = 0
        remaining = iter(calls)
        retries_before = self._transport.retries

        async def worker() -> None:
            nonlocal done
            for call in remaining:
                await self._send(call)
                done += 1

        async def all_of_them() -> None:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(self._connections, len(calls))):
                    group.create_task(worker())

        def report() -> None:
            if progress is not None:
                progress(done, len(calls))

        started = time.monotonic_ns()
        self._do(all_of_them(), report)
        ended = time.monotonic_ns()
        report()
        return Bulk(len(calls), self._transport.retries - retries_before, started, ended)

    async def _send(self, call: _Call) -> None:
        try:
            await self._transport.send(call.method, call.path, body=call.body, done=call.fine_again)
        except ApiError as error:
            if error.status not in call.fine:
                raise

    async def _watch(self, path: str, label: str, seconds: float, tell: Callable[[str], None]) -> float:
        """Watch one collection; return for how many seconds. Raises ApiError when it is refused, or never answered."""
        watched, end, why = 0.0, time.monotonic() + seconds, "no answer"
        began: list[float] = []  # when each watch was answered
        select = {"labelSelector": label} if label else {}
        while (left := end - time.monotonic()) > _WATCH_LEAST:
            now = orjson.loads(await self._transport.send("GET", path, query={"limit": "1", **select}))
            since = {"watch": "1", "resourceVersion": now["metadata"]["resourceVersion"], **select}
            since["timeoutSeconds"], known = str(ceil(left)), len(began)
            # The server ends it in time: a stream that is left in its middle has its TLS shut down while all is closed.
            try:
                async with asyncio.timeout(left + _WATCH_LATE):
                    async for line in self._transport.lines(path, since, lambda: began.append(time.monotonic())):
                        if (kind := orjson.loads(line)["type"]) in _CHANGES:
                            tell(kind)
            except TimeoutError:
                pass
            except ApiError as error:
                if error.status is not None:
                    raise
                why = str(error)
            watched += time.monotonic() - began[-1] if len(began) > known else 0.0
            await asyncio.sleep(min(_WATCH_AGAIN, max(0.0, end - time.monotonic())))
        if not began:
            raise ApiError(
                f"nothing was watched: the Kubernetes API answered no watch of {path} in {seconds:g} s: {why}"
            )
        return watched

    async def _list(self, path: str, label: str) -> Sequence[Object]:
        for _ in range(_LISTS - 1):
            try:
                return await self._pages(path, label)
            except ApiError as error:
                if error.status != _GONE:
                    raise
        return await self._pages(path, label)

    async def _pages(self, path: str, label: str) -> Sequence[Object]:
        query = {"limit": str(_PAGE), **({"labelSelector": label} if label else {})}
        items: Sequence[Object] = []
        while True:
            page = orjson.loads(await self._transport.send("GET", path, query=query))
            head = {"apiVersion": page["apiVersion"], "kind": page["kind"].removesuffix("List")}
            # A list names the kind once; each object is given it back, so that it can be written again as it is.
            items = [*items, *({**head, **item} for item in page["items"] or ())]
            token = page["metadata"].get("continue")
            if not token:
                return items
            query["continue"] = token


async def _all(work: Iterable[Coroutine[Any, Any, _Result]]) -> list[_Result]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one) for one in work]
    return [task.result() for task in tasks]


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the refusal that ended a bulk: its workers may have met several."""
    found = group.subgroup(ApiError) or group
    error = found.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error


def _create(obj: Object) -> _Call:
    ref = Ref.of(obj)
    path = BY_KIND[ref.kind].path(ref.namespace)
    return _Call("POST", path, obj, frozenset(), frozenset({_CONFLICT}))


def _object_path(ref: Ref) -> str:
    return BY_KIND[ref.kind].path(ref.namespace, ref.name)
