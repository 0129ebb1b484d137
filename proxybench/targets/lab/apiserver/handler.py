"""HTTP in front of the store: the part of the Kubernetes API that a Service proxy and our own client need.

It speaks JSON only; every object is encoded once per version, so that lists and watches are joins of bytes.
Differences from a real API server: it keeps unknown fields and what is written in ``status``, has no subresources and
no server-side apply, lets Services share an address, does not wait for finalizers, removes a namespace at once, and
returns Status "Success" for every delete.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

import orjson
from aiohttp import web

from proxybench.kube.resources import Resource, Target, discovery, parse_path
from proxybench.targets.lab.apiserver import KUBERNETES_VERSION, options, status
from proxybench.targets.lab.apiserver.patch import apply_patch
from proxybench.targets.lab.apiserver.status import StatusError
from proxybench.targets.lab.apiserver.versions import from_stored, to_stored
from proxybench.targets.lab.apiserver.watchfeed import WatchFeed, stream_watch

if TYPE_CHECKING:
    from proxybench.targets.lab.apiserver.eventlog import Stored
    from proxybench.targets.lab.apiserver.status import Object
    from proxybench.targets.lab.apiserver.store import Store

BODY_LIMIT: Final = 3 * 1024 * 1024  # bytes, as a real API server
BOOKMARK_SECONDS: Final = 20.0  # of silence; a real server sends one a minute
_LOG: Final = logging.getLogger(__name__)
_JSON: Final = "application/json"


Query = list[tuple[str, str]]


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
        target = parse_path(path)
        if target is None:
            return self._document(request.method, path)
        if target.resource.kind == "Event" and request.method in {"POST", "PUT", "PATCH"}:
            return await _dropped(request, target)
        if not _accepts_json(request.headers.get("Accept", _JSON)):
            raise status.not_acceptable()
        # urllib and not yarl: an unescaped "!" or "," in a selector must come through as it is.
        query = parse_qsl(request.query_string, keep_blank_values=True) if request.query_string else []
        if target.name:
            return await self._object(request, target, query)
        return await self._collection(request, target, query)

    async def _object(self, request: web.BaseRequest, target: Target, query: Query) -> web.Response:
        match request.method:
            case "GET":
                return _json(self._get(target).encoded(target.version))
            case "PUT":
                return self._replace(target, await _body(request), query)
            case "PATCH":
                return self._patch(target, request.content_type, await _body(request, patch=True), query)
            case "DELETE":
                return self._delete(target, await _body(request), query)
            case _:
                raise status.method_not_allowed()

    async def _collection(self, request: web.BaseRequest, target: Target, query: Query) -> web.StreamResponse:
        match request.method:
            case "GET" if options.is_watch(fields := dict(query)):
                return await self._watch(request, target, options.watch_options(fields, target.resource))
            case "GET":
                return self._list(target, options.list_options(dict(query), target.resource))
            case "POST":
                return self._create(target, await _body(request), query)
            case "DELETE" if "deletecollection" in target.resource.verbs:
                return self._delete_collection(target, await _body(request), query)
            case _:
                raise status.method_not_allowed()

    def _authorize(self, request: web.BaseRequest) -> None:
        shown = request.headers.get("Authorization", "").encode(errors="surrogateescape")
        if not hmac.compare_digest(shown, self._authorization):
            raise status.unauthorized()

    def _document(self, method: str, path: str) -> web.Response:
        found = self._version() if path == "/version" else discovery(path)
        if found is None:
            raise status.no_such_path()
        if method != "GET":
            raise status.method_not_allowed()
        return _json(orjson.dumps(found))

    def _version(self) -> dict[str, object]:
        major, minor, _ = self._kubernetes_version.removeprefix("v").split(".", 2)
        return {"major": major, "minor": minor, "gitVersion": self._kubernetes_version, "platform": "linux/amd64"}

    def _get(self, target: Target) -> Stored:
        return self._store.get(target.resource, target.namespace, target.name)

    def _list(self, target: Target, wanted: options.ListOptions) -> web.Response:
        if wanted.version > self._store.version:
            raise status.version_too_large(wanted.version, self._store.version)
        page = self._store.page(
            target.resource,
            target.namespace,
            wanted.selection,
            limit=wanted.limit,
            token=wanted.token,
            version=wanted.version if wanted.exact else 0,
        )
        metadata: Object = {"resourceVersion": str(page.version)}
        if page.token:
            metadata["continue"] = page.token
        if page.remaining is not None:
            metadata["remainingItemCount"] = page.remaining
        return _json(_list_body(target, metadata, page.items))

    def _create(self, target: Target, body: bytes, query: Query) -> web.Response:
        if target.resource.namespaced and not target.namespace:
            raise status.method_not_allowed()
        obj = to_stored(target.resource, target.version, _of_kind(target, _parsed(body)))
        dry_run = _dry_run("CreateOptions", query)
        stored = self._store.create(target.resource, target.namespace, obj, dry_run=dry_run)
        return _json(stored.encoded(target.version), 201)

    def _replace(self, target: Target, body: bytes, query: Query) -> web.Response:
        return self._put(target, _parsed(body), _dry_run("UpdateOptions", query))

    def _patch(self, target: Target, content_type: str, body: bytes, query: Query) -> web.Response:
        dry_run = _dry_run("PatchOptions", query)
        before = from_stored(target.resource, target.version, self._get(target).decoded())
        return self._put(target, apply_patch(content_type, target.resource, before, body), dry_run)

    def _put(self, target: Target, obj: Object, dry_run: bool) -> web.Response:
        obj = to_stored(target.resource, target.version, _of_kind(target, obj))
        stored = self._store.replace(target.resource, target.namespace, target.name, obj, dry_run=dry_run)
        return _json(stored.encoded(target.version))

    def _delete(self, target: Target, body: bytes, query: Query) -> web.Response:
        conditions, dry_run = _delete_options(body, query)
        gone = self._store.delete(target.resource, target.namespace, target.name, conditions, dry_run=dry_run)
        uid = gone.decoded()["metadata"]["uid"]
        return _json(orjson.dumps(status.success(target.resource, target.name, uid)))

    def _delete_collection(self, target: Target, body: bytes, query: Query) -> web.Response:
        if target.resource.namespaced and not target.namespace:
            raise status.method_not_allowed()
        _, dry_run = _delete_options(body, query)
        selection = options.selection(dict(query), target.resource)
        gone = self._store.delete_collection(target.resource, target.namespace, selection, dry_run=dry_run)
        return _json(_list_body(target, {"resourceVersion": str(self._store.version)}, gone))

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


def _list_body(target: Target, metadata: Object, items: list[Stored]) -> bytes:
    head = orjson.dumps(
        {
            "kind": target.resource.kind + "List",
            "apiVersion": target.resource.api_version(target.version),
            "metadata": metadata,
        }
    )
    encoded = b",".join([item.encoded(target.version) for item in items])
    return head[:-1] + b',"items":[' + encoded + b"]}"


def _json(body: bytes, code: int = 200) -> web.Response:
    return web.Response(body=body, status=code, content_type=_JSON)


async def _dropped(request: web.BaseRequest, target: Target) -> web.Response:
    """Accept an event, in whatever encoding it comes, and forget it: nobody reads the events of a lab."""
    await _read(request)
    name = target.name or "dropped"
    metadata = {"name": name, "namespace": target.namespace, "resourceVersion": "1"}
    event = {"kind": "Event", "apiVersion": target.resource.api_version(target.version), "metadata": metadata}
    return _json(orjson.dumps(event), 201 if request.method == "POST" else 200)


def _accepts_json(accept: str) -> bool:
    kinds = {part.partition(";")[0].strip() for part in accept.split(",")}
    return not kinds.isdisjoint({_JSON, "application/*", "*/*", ""})


async def _body(request: web.BaseRequest, *, patch: bool = False) -> bytes:
    """Read the body, whose kind must be JSON (that of a patch is checked where it is applied)."""
    # aiohttp's word for "no Content-Type given" is application/octet-stream.
    if not patch and request.body_exists and request.content_type not in {_JSON, "application/octet-stream"}:
        raise status.unsupported_media(_JSON)
    return await _read(request)


async def _read(request: web.BaseRequest) -> bytes:
    if (request.content_length or 0) > BODY_LIMIT:
        raise status.too_large(BODY_LIMIT)
    parts: list[bytes] = []
    size = 0
    try:
        async for part in request.content.iter_any():
            size += len(part)
            if size > BODY_LIMIT:
                raise status.too_large(BODY_LIMIT)
            parts.append(part)
    except web.RequestPayloadError as error:
        raise status.bad_request(f"the body of the request is broken: {' '.join(str(error).split())}") from error
    return b"".join(parts)


def _parsed(body: bytes) -> Object:
    try:
        obj = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise status.bad_request(f"the object provided is unrecognized: {error}") from error
    if not isinstance(obj, dict):
        raise status.bad_request("the object provided is unrecognized: it is not a JSON object")
    return obj


def _of_kind(target: Target, obj: Object) -> Object:
    """Return an object sent by a client, which must be of the kind that the path names."""
    wanted = (target.resource.api_version(target.version), target.resource.kind)
    found = (obj.get("apiVersion", wanted[0]), obj.get("kind", wanted[1]))
    if found != wanted:
        raise status.bad_request(
            f"the object provided is {found[1]} of {found[0]}, the path takes {wanted[1]} of {wanted[0]}"
        )
    return obj


def _dry_run(kind: str, query: Query) -> bool:
    return bool(query) and options.dry_run(kind, [value for name, value in query if name == "dryRun"])


def _delete_options(body: bytes, query: Query) -> tuple[Object, bool]:
    """Return the preconditions, and whether it is a dry run; a body's word adds to the query's."""
    sent = _parsed(body) if body.strip() else {}
    conditions, dry_run = sent.get("preconditions") or {}, sent.get("dryRun") or []
    if not isinstance(conditions, dict) or not all(isinstance(value, str | None) for value in conditions.values()):
        raise status.bad_request("preconditions: must be an object of strings")
    if not isinstance(dry_run, list):
        raise status.bad_request("dryRun: must be of type array")
    values = [*dry_run, *(value for name, value in query if name == "dryRun")]
    return conditions, options.dry_run("DeleteOptions", values)
