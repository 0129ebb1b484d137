"""Looks at a cluster's Services and EndpointSlices, and changes nothing: lists them, then watches what happens to them.

What a Service proxy does not look at is not looked at here: the same label selectors as kube-proxy's leave out
Services of another proxy, and the slices of headless ones.
"""

from __future__ import annotations

import time
from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode

from proxybench.errors import ApiError, UsageError
from proxybench.experiment.places import ClusterSpec
from proxybench.experiment.profile import Churn, Watched
from proxybench.experiment.words import format_duration
from proxybench.kube.client import KubernetesServiceApi
from proxybench.targets.cluster import access
from proxybench.targets.cluster.profiling.tally import Tally, brief

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from proxybench.experiment.profile import Profile
    from proxybench.kube.base import Object, WatchApi

SERVICES: Final = "/api/v1/services"
SLICES: Final = "/apis/discovery.k8s.io/v1/endpointslices"
SELECTOR: Final = "!service.kubernetes.io/service-proxy-name,!service.kubernetes.io/headless"
PAGE: Final = 500
GAP_S: Final = 0.2  # from one page to the next: five requests a second
_LISTS: Final = 3  # attempts at lists whose pages expire under them
_GONE: Final = 410
_MINUTE_S: Final = 60.0


def look(
    kubeconfig: str | None, context: str | None, watch_s: float, report: Callable[[str], None]
) -> tuple[Profile, int]:
    """Return a cluster's profile; see ``profile_of``. Raises ExperimentError, UsageError, ApiError."""
    spec = ClusterSpec(inventory="none", kubeconfig=kubeconfig, context=context)
    at = access.first_access(access.credentials(spec), spec)
    with ExitStack() as stack:
        api = stack.enter_context(
            KubernetesServiceApi(
                at.url, at.renew or at.token, ca_pem=at.ca_pem, client_pem=at.client_pem, connections=2
            )
        )
        return profile_of(api, watch_s, report)


def profile_of(
    api: WatchApi, watch_s: float, report: Callable[[str], None], sleep: Callable[[float], None] = time.sleep
) -> tuple[Profile, int]:
    """List all, watch for ``watch_s`` seconds (0: not), and return the profile.

    And how many Services are counted among others, since they are of a rare shape. Raises UsageError where there is no
    Service, ApiError.
    """
    tally = _counted(api, report, sleep)
    if not len(tally):
        raise UsageError("there is no Service in this cluster; nothing was written")
    return tally.profile(_watched(api, watch_s, report) if watch_s else None)


def _counted(api: WatchApi, report: Callable[[str], None], sleep: Callable[[float], None]) -> Tally:
    for attempt in range(1, _LISTS + 1):
        tally = Tally()
        try:
            for obj in _pages(api, SERVICES, sleep):
                tally.service(obj)
            report(f"{len(tally):,} Services; listing their EndpointSlices")
            for obj in _pages(api, SLICES, sleep):
                tally.endpoint_slice(obj)
        except ApiError as error:
            if error.status != _GONE or attempt == _LISTS:
                raise
        else:
            break
    return tally


def _pages(api: WatchApi, path: str, sleep: Callable[[float], None]) -> Iterator[Object]:
    query = {"limit": str(PAGE), "labelSelector": SELECTOR}
    while True:
        page = api.ask("GET", f"{path}?{urlencode(query)}")
        yield from page["items"] or ()
        query["continue"] = page["metadata"].get("continue", "")
        if not query["continue"]:
            return
        sleep(GAP_S)


def _watched(api: WatchApi, seconds: float, report: Callable[[str], None]) -> Watched:
    report(f"watching for {seconds:g} s")
    services, slices = Counter[str](), Counter[str]()
    told = {SERVICES: lambda kind: services.update((kind,)), SLICES: lambda kind: slices.update((kind,))}
    watched = max(1.0, api.watch(told, SELECTOR, seconds))
    words = format_duration(float(round(watched)))
    return Watched.model_validate(
        {"watched": words, "services": _rates(services, watched), "endpoint_slices": _rates(slices, watched)}
    )


def _rates(events: Counter[str], seconds: float) -> Churn:
    added, changed, deleted = (brief(events[kind] * _MINUTE_S / seconds) for kind in ("ADDED", "MODIFIED", "DELETED"))
    return Churn(added=added, changed=changed, deleted=deleted)
