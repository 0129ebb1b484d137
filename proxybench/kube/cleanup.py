"""Taking back what was written: everything with our label in one namespace, and the namespace if it is ours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxybench.errors import ApiError
from proxybench.kube.base import Kind, Ref
from proxybench.kube.objects import SELECTOR
from proxybench.units import NS_PER_S, SystemClock

if TYPE_CHECKING:
    from proxybench.kube.base import ServiceApi
    from proxybench.units import Clock

_POLL_SECONDS: Final = 0.2


def cleanup(api: ServiceApi, namespace: str, *, seconds: float = 60.0, clock: Clock | None = None) -> None:
    """Delete our Services, EndpointSlices and Endpoints, then the namespace when we made it, and wait until it is gone.

    Objects without our label stay, and so does a namespace without it. Raises ApiError, also when a real cluster has
    not finished removing the namespace within ``seconds``.
    """
    clock = clock or SystemClock()
    for kind in (Kind.SERVICE, Kind.ENDPOINT_SLICE, Kind.ENDPOINTS):
        api.delete_collection(kind, namespace, SELECTOR)
    if not _is_ours(api, namespace):
        return
    api.delete_many([Ref(Kind.NAMESPACE, "", namespace)])
    deadline = clock.monotonic_ns() + round(seconds * NS_PER_S)
    while _is_ours(api, namespace):
        if clock.monotonic_ns() > deadline:
            raise ApiError(f"namespace {namespace} is still there {seconds:g} s after it was deleted")
        clock.sleep(_POLL_SECONDS)


def _is_ours(api: ServiceApi, namespace: str) -> bool:
    return any(found["metadata"]["name"] == namespace for found in api.list(Kind.NAMESPACE, label=SELECTOR))
