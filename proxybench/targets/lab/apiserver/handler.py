"""HTTP in front of the store: the part of the Kubernetes API that a Service proxy and our own client need.

It reads and writes JSON; every object is encoded once per version, so that lists and watches are joins of bytes.
Differences from a real API server: objects are stored as they are sent, status included; lists come whole, whatever
``limit`` says (which the API allows); there are no patches, subresources, allocation of addresses or finalizers;
events are accepted and forgotten; a namespace goes at once.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

import orjson
from aiohttp import web

from proxybench.kube.resources import NAMESPACES
from proxybench.targets.lab.apiserver import KUBERNETES_VERSION, options, status
from proxybench.targets.lab.apiserver.paths import parse_path
from proxybench.targets.lab.apiserver.status import StatusError
from proxybench.targets.lab.apiserver.watchfeed import WatchFeed, stream_watch

if TYPE_CHECKING:
    from proxybench.kube.resources import Resource
    from proxybench.targets.lab.apiserver.eventlog import Stored
    from proxybench.targets.lab.apiserver.paths import Target
    from proxybench.targets.lab.apiserver.status import Object
    from proxybench.targets.lab.apiserver.store import Store

BOOKMARK_SECONDS: Final = 20.0  # of silence; a real server sends one a minute
_LOG: Final = logging.getLogger(__name__)
_JSON: Final = "application/json"


Query = dict[str, str]


class ApiHandler:
    """Answers every request of the API; the store behind it holds all state."""

    def __init__(
        self,
        store: Store,
        token: str,
        *,
        kubernetes_version: str = KUBERNETES_VERSION,
        bookmark_seconds: float = BOOKMARK_SECONDS,
    ) -> None:
        """Serve a store to whoever shows the token; ``kubernetes_version`` ("v1.37.2") is what /version says."""
        self._kubernetes_version = kubernetes_version
        self._store = store
        self._authorization = f"Bearer {token}".encode()
        self._bookmark_seconds = bookmark_seconds
        self._watchers: dict[Resource, set[asyncio.Event]] = {}
        store.subscribe(self._wake)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request; a refusal becomes its Status object."""
        try:
            return await self._route(request)
        except StatusError as error:
            return _json(orjson.dumps(error.body), error.code)
        except ConnectionError:
            raise  # the client has gone
        except Exception as error:  # noqa: BLE001 - a client must be told, whatever went wrong
            _LOG.exception("%s %s", request.method, request.path)
            failure = status.internal_error(f"{type(error).__name__}: {error}")
            return _json(orjson.dumps(failure.body), failure.code)

    async def _route(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.path
        if path in {"/healthz", "/livez", "/readyz"}:
            return web.Response(text="ok")
        self._authorize(request)
        if path == "/version":
            return _json(orjson.dumps(self._version()))
        target = parse_path(path)
        if target is None:
            raise status.no_such_path()
        if target.resource.kind == "Event" and request.method != "GET":
            return await _dropped(request, target)
        if not _accepts_json(request.headers.get("Accept", _JSON)):
            raise status.not_acceptable()
        # urllib and not yarl: an unescaped "!" or "," in a selector must come through as it is.
        query = dict(parse_qsl(request.query_string, keep_blank_values=True)) if request.query_string else {}
        if target.name:
            return await self._object(request, target)
        return await self._collection(request, target, query)

    async def _object(self, request: web.BaseRequest, target: Target) -> web.Response:
        match request.method:
            case "GET":
                return _json(self._store.get(*_key(target)).encoded(target.version))
            case "PUT":
                obj = _of_kind(target, await request.read())
                return _json(self._store.replace(*_key(target), obj).encoded(target.version))
            case "DELETE":
                await request.read()
                gone = self._store.delete(*_key(target)).decoded()["metadata"]["uid"]
                return _json(orjson.dumps(status.success(target.resource, target.name, gone)))
            case _:
                raise status.method_not_allowed()

    async def _collection(self, request: web.BaseRequest, target: Target, query: Query) -> web.StreamResponse:
        resource, version, namespace, _ = target
        if request.method == "GET" and options.is_watch(query):
            return await self._watch(request, target, options.watch_options(query, resource))
        if request.method == "GET":
            items = self._store.select(resource, namespace, options.selection(query, resource))
            return _json(_list_body(target, self._store.version, items))
        if resource.namespaced and not namespace:
            raise status.method_not_allowed()
        if request.method == "POST":
            obj = _of_kind(target, await request.read())
            return _json(self._store.create(resource, namespace, obj).encoded(version), 201)
        if request.method == "DELETE" and resource is not NAMESPACES:  # as on a real one, they go one by one
            await request.read()
            gone = self._store.delete_collection(resource, namespace, options.selection(query, resource))
            return _json(_list_body(target, self._store.version, gone))
        raise status.method_not_allowed()

    def _authorize(self, request: web.BaseRequest) -> None:
        shown = request.headers.get("Authorization", "").encode(errors="surrogateescape")
        if not hmac.compare_digest(shown, self._authorization):
            raise status.unauthorized()

    def _version(self) -> dict[str, object]:
        major, minor, _ = self._kubernetes_version.removeprefix("v").split(".", 2)
        return {"major": major, "minor": minor, "gitVersion": self._kubernetes_version, "platform": "linux/amd64"}

    async def _watch(
        self, request: web.BaseRequest, target: Target, wanted: options.WatchOptions
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": _JSON, "Cache-Control": "no-cache, private"})
        changed = asyncio.Event()
        waiting = self._watchers.setdefault(target.resource, set())
        waiting.add(changed)
        try:
            await response.prepare(request)
            feed = WatchFeed(self._store, target, wanted)
            bookmark = self._bookmark_seconds if wanted.bookmarks else wanted.seconds
            await stream_watch(response, feed, changed, seconds=wanted.seconds, bookmark_seconds=bookmark)
            await response.write_eof()
        except ConnectionResetError:
            pass  # the client has gone: that is how watches usually end
        finally:
            waiting.discard(changed)
        return response

    def _wake(self, resource: Resource) -> None:
        for changed in self._watchers.get(resource, ()):
            changed.set()


def _key(target: Target) -> tuple[Resource, str, str]:
    return target.resource, target.namespace, target.name


def _list_body(target: Target, version: int, items: list[Stored]) -> bytes:
    head = orjson.dumps(
        {
            "kind": target.resource.kind + "List",
            "apiVersion": target.resource.api_version(target.version),
            "metadata": {"resourceVersion": str(version)},
        }
    )
    encoded = b",".join([item.encoded(target.version) for item in items])
    return head[:-1] + b',"items":[' + encoded + b"]}"


def _json(body: bytes, code: int = 200) -> web.Response:
    return web.Response(body=body, status=code, content_type=_JSON)


async def _dropped(request: web.BaseRequest, target: Target) -> web.Response:
    """Accept an event, in whatever encoding it comes, and forget it: nobody reads the events of a lab."""
    await request.read()
    metadata = {"name": target.name or "dropped", "namespace": target.namespace, "resourceVersion": "1"}
    event = {"kind": "Event", "apiVersion": target.resource.api_version(target.version), "metadata": metadata}
    return _json(orjson.dumps(event), 201 if request.method == "POST" else 200)


def _accepts_json(accept: str) -> bool:
    kinds = {part.partition(";")[0].strip() for part in accept.split(",")}
    return not kinds.isdisjoint({_JSON, "application/*", "*/*", ""})


def _of_kind(target: Target, body: bytes) -> Object:
    """Return an object sent by a client, which must be of the kind that the path names, in the version stored."""
    try:
        obj = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise status.bad_request(f"the object provided is unrecognized: {error}") from error
    if not isinstance(obj, dict):
        raise status.bad_request("the object provided is unrecognized: it is not a JSON object")
    resource = target.resource
    wanted = (resource.api_version(resource.versions[0]), resource.kind)
    found = (obj.get("apiVersion", wanted[0]), obj.get("kind", wanted[1]))
    if found != wanted:
        raise status.bad_request(
            f"the object provided is {found[1]} of {found[0]}, the path takes {wanted[1]} of {wanted[0]}"
        )
    return obj
