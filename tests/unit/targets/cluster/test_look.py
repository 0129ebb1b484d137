from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest

from proxybench.errors import ApiError, UsageError
from proxybench.experiment.profile import Churn
from proxybench.targets.cluster.profiling.look import GAP_S, PAGE, SELECTOR, SERVICES, SLICES, profile_of
from tests.unit.targets.cluster.test_tally import endpoint, service, slice_

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Object = dict[str, Any]


class Api:
    """A cluster of pages, each of two objects; it may be asked for Services and EndpointSlices, and for nothing else.

    ``gone`` counts down: so many continued pages are refused, since their list is too old by then.
    """

    def __init__(self, services: list[Object], slices: list[Object], gone: int = 0) -> None:
        self.objects = {SERVICES: services, SLICES: slices}
        self.gone = gone
        self.asked: list[str] = []
        self.events: dict[str, list[str]] = {SERVICES: [], SLICES: []}
        self.watched = 0.0

    def ask(self, method: str, path: str, body: Object | None = None) -> Object:
        assert (method, body) == ("GET", None)
        parts = urlsplit(path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        assert query.pop("labelSelector") == SELECTOR
        assert query.pop("limit") == str(PAGE)
        first = int(query.pop("continue", "0"))
        assert not query
        self.asked.append(f"{parts.path} {first}")
        if first and self.gone:
            self.gone -= 1
            raise ApiError("GET: 410 Expired: too old", 410)
        found = self.objects[parts.path]
        more = {"continue": str(first + 2)} if len(found) > first + 2 else {}
        return {"metadata": {"resourceVersion": "7", **more}, "items": found[first : first + 2] or None}

    def watch(self, seen: Mapping[str, Callable[[str], None]], label: str, seconds: float) -> float:
        assert label == SELECTOR
        assert seen.keys() == self.events.keys()
        for path, tell in seen.items():
            for event in self.events[path]:
                tell(event)
        return self.watched or seconds


@pytest.fixture
def api() -> Api:
    names = ("a", "b", "c")
    return Api([service(name) for name in names], [slice_(endpoint(), of=name) for name in names])


def nothing(_: object) -> None:
    pass


def test_all_pages_are_counted_with_a_pause_between_them(api: Api) -> None:
    said: list[str] = []
    slept: list[float] = []
    found, folded = profile_of(api, 0, said.append, slept.append)
    assert (found.services, found.endpoints, found.churn, folded) == (3, 3, None, 0)
    assert api.asked == [f"{SERVICES} 0", f"{SERVICES} 2", f"{SLICES} 0", f"{SLICES} 2"]
    assert slept == [GAP_S, GAP_S]
    assert said == ["3 Services; listing their EndpointSlices"]


def test_a_list_that_expired_is_begun_anew_and_counts_nothing_twice(api: Api) -> None:
    api.gone = 2
    found, _ = profile_of(api, 0, nothing, nothing)
    assert (found.services, found.endpoints) == (3, 3)
    assert len(api.asked) == 2 + 2 + 4


def test_a_list_that_always_expires_is_an_error(api: Api) -> None:
    api.gone = 3
    with pytest.raises(ApiError, match=r"410 Expired"):
        profile_of(api, 0, nothing, nothing)


def test_changes_are_told_per_minute(api: Api) -> None:
    api.events = {SERVICES: ["ADDED", "DELETED"], SLICES: ["MODIFIED"] * 35}
    api.watched = 90.0
    said: list[str] = []
    found, _ = profile_of(api, 120, said.append, nothing)
    assert found.churn is not None
    assert found.churn.watched == 90.0
    assert found.churn.services == Churn(added=0.67, changed=0, deleted=0.67)
    assert found.churn.endpoint_slices == Churn(changed=23)
    assert said[-1] == "watching for 120 s"


def test_a_cluster_without_services_has_no_shape() -> None:
    with pytest.raises(UsageError) as caught:
        profile_of(Api([], []), 60, nothing, nothing)
    assert str(caught.value) == "there is no Service in this cluster; nothing was written"
