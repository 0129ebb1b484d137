"""The seam to the Kubernetes API: what the orchestrator may ask of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol, Self

from proxybench.errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

Object = dict[str, Any]


class Kind(StrEnum):
    """The kinds of objects that proxybench writes or reads."""

    SERVICE = "Service"
    ENDPOINT_SLICE = "EndpointSlice"
    ENDPOINTS = "Endpoints"
    NODE = "Node"
    NAMESPACE = "Namespace"


@dataclass(frozen=True, order=True)
class Ref:
    """Names one object; ``namespace`` is "" for a kind that has none."""

    kind: Kind
    namespace: str
    name: str

    @classmethod
    def of(cls, obj: Object) -> Self:
        """Return the name of an object."""
        metadata = obj["metadata"]
        return cls(Kind(obj["kind"]), metadata.get("namespace", ""), metadata["name"])


@dataclass(frozen=True)
class Bulk:
    """What a bulk write did, in nanoseconds of the orchestrator's CLOCK_MONOTONIC.

    ``started_ns`` is before the first request, ``ended_ns`` after the last acknowledgement. ``retries`` counts the
    requests that had to be sent again.
    """

    objects: int
    retries: int
    started_ns: int
    ended_ns: int


class ServiceApi(Protocol):
    """The Kubernetes API, asked from one thread. All methods raise ApiError: one line, and the HTTP status if any."""

    def ensure_namespace(self, name: str) -> None:
        """Create the namespace with our label unless it is there."""
        ...

    def create_many(self, objects: Sequence[Object], progress: Callable[[int, int], None] | None = None) -> Bulk:
        """Create objects in no particular order; return when all are acknowledged. A name that is taken is an error."""
        ...

    def replace_many(self, objects: Sequence[Object], progress: Callable[[int, int], None] | None = None) -> Bulk:
        """Replace objects of any version, or the version that they carry; a missing one is an error."""
        ...

    def delete_many(self, refs: Sequence[Ref], progress: Callable[[int, int], None] | None = None) -> Bulk:
        """Delete objects; one that is already gone is no error."""
        ...

    def delete_collection(self, kind: Kind, namespace: str, label: str) -> None:
        """Delete all objects of a kind in a namespace that a label selector selects."""
        ...

    def list(self, kind: Kind, namespace: str = "", label: str = "") -> Sequence[Object]:
        """Return all objects of a kind in a namespace ("" for all) that a label selector selects."""
        ...

    def close(self) -> None:
        """Let go of all connections. Never raises."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


class ObjectApi(Protocol):
    """Any object of the Kubernetes API, by its path."""

    def ask(self, method: str, path: str, body: Object | None = None) -> Object:
        """Send one request and return the answer. Raises ApiError."""
        ...


class WatchApi(ObjectApi, Protocol):
    """What is asked of a cluster that is only read."""

    def watch(self, seen: Mapping[str, Callable[[str], None]], label: str, seconds: float) -> float:
        """Watch collections, by path, for what happens to the objects that a label selector selects.

        Each one's function is told ADDED, MODIFIED or DELETED. Returns for how many seconds all were watched. Raises
        ApiError, also where nothing was.
        """
        ...


class ClusterApi(ServiceApi, ObjectApi, Protocol):
    """Both: what a user's own cluster is asked."""


def is_leaving(obj: Object) -> bool:
    """Tell whether an object is being deleted; a namespace that is takes nothing new."""
    return bool(obj.get("metadata", {}).get("deletionTimestamp"))


def refusal(method: str, path: str, status: int, reason: str, message: str) -> ApiError:
    """Return the error for a request that the API refused, in one line."""
    return ApiError(f"{method} {path}: {status} {reason}: {' '.join(message.split())}", status)
