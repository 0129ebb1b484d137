"""A ServiceApi in memory, on the same store as the lab's API server: same rules, same words, no HTTP."""

from __future__ import annotations

import time
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Self

import orjson

from proxybench.errors import ApiError
from proxybench.kube.base import Bulk, Kind, Ref, refusal
from proxybench.kube.objects import namespace
from proxybench.kube.resources import BY_KIND
from proxybench.targets.lab.apiserver.selectors import parse_selection
from proxybench.targets.lab.apiserver.status import StatusError
from proxybench.targets.lab.apiserver.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from proxybench.kube.base import Object

_CONFLICT = 409
_NOT_FOUND = 404


class FakeServiceApi:
    """Stateful and strict: it refuses what the API server refuses, and every use after ``close``.

    ``log`` holds "VERB path" of each write, in order, for tests that care.
    """

    def __init__(self, store: Store | None = None) -> None:
        """Start with an empty store, or a given one."""
        self.store = store or Store()
        self.log: list[str] = []
        self._closed = False

    def ensure_namespace(self, name: str) -> None:
        """Create the namespace with our label unless it is there."""
        try:
            self._create(namespace(name))
        except ApiError as error:
            if error.status != _CONFLICT:
                raise

    def create_many(self, objects: Sequence[Object], progress: Callable[[int, int], None] | None = None) -> Bulk:
        """Create objects one after the other."""
        return self._bulk([partial(self._create, obj) for obj in objects], progress)

    def replace_many(self, objects: Sequence[Object], progress: Callable[[int, int], None] | None = None) -> Bulk:
        """Replace objects one after the other."""
        return self._bulk([partial(self._replace, obj) for obj in objects], progress)

    def delete_many(self, refs: Sequence[Ref], progress: Callable[[int, int], None] | None = None) -> Bulk:
        """Delete objects one after the other; one that is already gone is no error."""
        return self._bulk([partial(self._delete, ref) for ref in refs], progress)

    def delete_collection(self, kind: Kind, namespace: str, label: str) -> None:
        """Delete all objects of a kind in a namespace that a label selector selects."""
        resource = BY_KIND[kind]
        with self._asked("DELETE", resource.path(namespace)):
            self.store.delete_collection(resource, namespace, parse_selection(label))

    def list(self, kind: Kind, namespace: str = "", label: str = "") -> Sequence[Object]:
        """Return all objects of a kind in a namespace ("" for all) that a label selector selects."""
        resource = BY_KIND[kind]
        with self._asked("GET", resource.path(namespace)):
            found = self.store.select(resource, namespace, parse_selection(label))
        return [item.decoded() for item in found]

    def close(self) -> None:
        """Refuse everything from now on."""
        self._closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _create(self, obj: Object) -> None:
        ref = Ref.of(obj)
        resource = BY_KIND[ref.kind]
        with self._asked("POST", resource.path(ref.namespace)):
            self.store.create(resource, ref.namespace, _copy(obj))

    def _replace(self, obj: Object) -> None:
        ref = Ref.of(obj)
        resource = BY_KIND[ref.kind]
        with self._asked("PUT", resource.path(ref.namespace, ref.name)):
            self.store.replace(resource, ref.namespace, ref.name, _copy(obj))

    def _delete(self, ref: Ref) -> None:
        resource = BY_KIND[ref.kind]
        try:
            with self._asked("DELETE", resource.path(ref.namespace, ref.name)):
                self.store.delete(resource, ref.namespace, ref.name)
        except ApiError as error:
            if error.status != _NOT_FOUND:
                raise

    def _bulk(self, calls: Sequence[Callable[[], None]], progress: Callable[[int, int], None] | None) -> Bulk:
        started = time.monotonic_ns()
        for call in calls:
            call()
        if progress is not None:
            progress(len(calls), len(calls))
        return Bulk(len(calls), 0, started, time.monotonic_ns())

    @contextmanager
    def _asked(self, method: str, path: str) -> Iterator[None]:
        """Note a request and word its refusal as the real client would."""
        if self._closed:
            raise AssertionError(f"{method} {path} after close()")
        if method != "GET":
            self.log.append(f"{method} {path}")
        try:
            yield
        except StatusError as error:
            raise refusal(method, path, error.code, error.reason, str(error)) from error


def _copy(obj: Object) -> Object:
    copied: Object = orjson.loads(orjson.dumps(obj))
    return copied
