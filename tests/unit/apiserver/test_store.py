from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from proxybench.kube.resources import ENDPOINT_SLICES, NAMESPACES, SERVICES
from proxybench.targets.lab.apiserver.selectors import EVERYTHING, parse_selection
from proxybench.targets.lab.apiserver.status import StatusError
from proxybench.targets.lab.apiserver.store import Store


def service(name: str, **labels: str) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "labels": labels},
        "spec": {"clusterIP": "10.96.1.1", "ports": [{"port": 80}]},
    }


@pytest.fixture
def store() -> Store:
    return Store(first_version=100, now=lambda: datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))


def refusal(caught: pytest.ExceptionInfo[StatusError]) -> dict[str, Any]:
    body = dict(caught.value.body)
    assert (body.pop("kind"), body.pop("apiVersion"), body.pop("metadata")) == ("Status", "v1", {})
    assert body.pop("status") == "Failure"
    return body


def test_an_object_is_stored_as_it_was_sent(store: Store) -> None:
    made = store.create(SERVICES, "default", service("a", x="y")).decoded()
    assert len(made["metadata"].pop("uid")) == 36
    assert made == {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": "a",
            "namespace": "default",
            "labels": {"x": "y"},
            "creationTimestamp": "2026-01-02T03:04:05Z",
            "resourceVersion": "102",
        },
        "spec": {"clusterIP": "10.96.1.1", "ports": [{"port": 80}]},
    }


def test_already_exists(store: Store) -> None:
    store.create(SERVICES, "default", service("a"))
    with pytest.raises(StatusError) as caught:
        store.create(SERVICES, "default", service("a"))
    assert refusal(caught) == {
        "message": 'services "a" already exists',
        "reason": "AlreadyExists",
        "details": {"name": "a", "kind": "services"},
        "code": 409,
    }


def test_not_found_names_the_group(store: Store) -> None:
    with pytest.raises(StatusError) as caught:
        store.get(ENDPOINT_SLICES, "default", "a")
    assert refusal(caught) == {
        "message": 'endpointslices.discovery.k8s.io "a" not found',
        "reason": "NotFound",
        "details": {"name": "a", "group": "discovery.k8s.io", "kind": "endpointslices"},
        "code": 404,
    }


def test_no_namespace(store: Store) -> None:
    with pytest.raises(StatusError) as caught:
        store.create(SERVICES, "nowhere", service("a"))
    assert refusal(caught) == {
        "message": 'namespaces "nowhere" not found',
        "reason": "NotFound",
        "details": {"name": "nowhere", "kind": "namespaces"},
        "code": 404,
    }


def test_a_stale_replace_is_a_conflict(store: Store) -> None:
    first = store.create(SERVICES, "default", service("a")).decoded()
    store.replace(SERVICES, "default", "a", service("a", new="1"))
    with pytest.raises(StatusError) as caught:
        store.replace(SERVICES, "default", "a", first)
    assert refusal(caught) == {
        "message": 'Operation cannot be fulfilled on services "a": the object has been modified; '
        "please apply your changes to the latest version and try again",
        "reason": "Conflict",
        "details": {"name": "a", "kind": "services"},
        "code": 409,
    }


def test_replace_keeps_what_the_server_gave(store: Store) -> None:
    before = store.create(SERVICES, "default", service("a")).decoded()["metadata"]
    after = store.replace(SERVICES, "default", "a", service("a", new="1")).decoded()["metadata"]
    assert (after["uid"], after["creationTimestamp"]) == (before["uid"], before["creationTimestamp"])
    assert (before["resourceVersion"], after["resourceVersion"]) == ("102", "103")


def test_a_replace_that_changes_nothing_is_no_event(store: Store) -> None:
    made = store.create(SERVICES, "default", service("a"))
    same = store.replace(SERVICES, "default", "a", made.decoded())
    assert same is made
    assert store.version == 102


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        (None, "metadata.name: Required value"),
        ({"labels": {}}, "metadata.name: Required value"),
        ({"name": ""}, "metadata.name: Required value"),
        ({"name": 7}, "metadata.name: Required value"),
        (
            {"name": "a", "namespace": "other"},
            "the namespace of the provided object does not match the namespace sent on the request",
        ),
        ("a", "metadata.name: Required value"),
    ],
)
def test_bad_creates(store: Store, metadata: object, words: str) -> None:
    with pytest.raises(StatusError) as caught:
        store.create(SERVICES, "default", {**service("a"), "metadata": metadata})
    assert refusal(caught) == {"message": words, "reason": "BadRequest", "code": 400}


def test_replace_under_another_name(store: Store) -> None:
    store.create(SERVICES, "default", service("a"))
    with pytest.raises(StatusError) as caught:
        store.replace(SERVICES, "default", "a", service("b"))
    assert refusal(caught) == {
        "message": "the name of the object (b) does not match the name on the URL (a)",
        "reason": "BadRequest",
        "code": 400,
    }


def test_events_that_are_forgotten() -> None:
    store = Store(first_version=1, log_capacity=4)
    for number in range(6):
        store.create(SERVICES, "default", service(f"s{number}"))
    assert [event.now.name for event in store.events_after(SERVICES, 4)] == ["s2", "s3", "s4", "s5"]
    with pytest.raises(StatusError) as caught:
        store.events_after(SERVICES, 3)
    assert refusal(caught) == {"message": "too old resource version: 3 (4)", "reason": "Expired", "code": 410}


def test_events_of_large_objects_are_forgotten_by_their_size_all_but_the_newest() -> None:
    store = Store(first_version=1, log_bytes=10_000)
    for number in range(9):  # version 3 and so on, of more than 2 kB each
        store.create(SERVICES, "default", service(f"s{number}", filler="x" * 2000))
    assert [event.now.name for event in store.events_after(SERVICES, 7)] == ["s5", "s6", "s7", "s8"]
    with pytest.raises(StatusError, match="too old"):
        store.events_after(SERVICES, 2)
    store.create(SERVICES, "default", service("large", filler="x" * 60_000))
    assert [event.now.name for event in store.events_after(SERVICES, 11)] == ["large"]
    with pytest.raises(StatusError, match="too old"):
        store.events_after(SERVICES, 10)


def test_an_object_that_leaves_a_selection_is_deleted_for_its_watch(store: Store) -> None:
    store.create(SERVICES, "default", service("a"))
    store.replace(SERVICES, "default", "a", service("a", on="1"))
    store.replace(SERVICES, "default", "a", service("a", on="1", more="1"))
    store.replace(SERVICES, "default", "a", service("a"))
    store.delete(SERVICES, "default", "a")
    selection = parse_selection("on")
    events = store.events_after(SERVICES, 101)
    assert [event.type for event in events] == ["ADDED", "MODIFIED", "MODIFIED", "MODIFIED", "DELETED"]
    assert [event.seen_by("", selection) for event in events] == [None, "ADDED", "MODIFIED", "DELETED", None]
    assert [event.seen_by("other", EVERYTHING) for event in events] == [None] * 5
    assert events[-1].now.decoded()["metadata"]["resourceVersion"] == "106"


def test_a_namespace_takes_its_objects_with_it(store: Store) -> None:
    store.create(NAMESPACES, "", {"metadata": {"name": "ns"}})
    store.create(SERVICES, "ns", service("a"))
    kept = store.create(SERVICES, "default", service("a"))
    store.delete(NAMESPACES, "", "ns")
    assert store.select(SERVICES, "", EVERYTHING) == [kept]
    with pytest.raises(StatusError, match='namespaces "ns" not found'):
        store.create(SERVICES, "ns", service("a"))


def test_a_collection_of_namespaces_takes_its_objects_with_it(store: Store) -> None:
    store.create(NAMESPACES, "", {"metadata": {"name": "ns", "labels": {"gone": "1"}}})
    store.create(SERVICES, "ns", service("a"))
    store.delete_collection(NAMESPACES, "", parse_selection("gone=1"))
    assert store.select(SERVICES, "", EVERYTHING) == []


def test_listeners_hear_of_changes(store: Store) -> None:
    heard: list[str] = []
    store.subscribe(lambda resource: heard.append(resource.plural))
    store.create(SERVICES, "default", service("a"))
    store.create(SERVICES, "default", service("b"))
    assert heard == ["services", "services"]
