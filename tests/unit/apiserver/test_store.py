from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from proxybench.kube.resources import ENDPOINT_SLICES, NAMESPACES, NODES, SERVICES
from proxybench.targets.lab.apiserver.selectors import EVERYTHING, parse_selection
from proxybench.targets.lab.apiserver.status import StatusError
from proxybench.targets.lab.apiserver.store import Store

if TYPE_CHECKING:
    from proxybench.kube.resources import Resource


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


def test_a_created_object_is_whole(store: Store) -> None:
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
        "spec": {
            "clusterIP": "10.96.1.1",
            "clusterIPs": ["10.96.1.1"],
            "type": "ClusterIP",
            "sessionAffinity": "None",
            "internalTrafficPolicy": "Cluster",
            "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack",
            "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}],
        },
        "status": {"loadBalancer": {}},
    }


def test_a_generated_name(store: Store) -> None:
    names = {
        store.create(SERVICES, "default", {**service("x"), "metadata": {"generateName": "a-"}}).name for _ in range(20)
    }
    assert len(names) == 20
    assert all(len(name) == 7 and name.startswith("a-") for name in names)


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


@pytest.mark.parametrize("field", ["uid", "resourceVersion"])
def test_delete_preconditions(store: Store, field: str) -> None:
    metadata = store.create(SERVICES, "default", service("a")).decoded()["metadata"]
    words = {"uid": "UID", "resourceVersion": "ResourceVersion"}[field]
    with pytest.raises(StatusError) as caught:
        store.delete(SERVICES, "default", "a", {field: "7"})
    assert refusal(caught)["message"] == (
        f'Operation cannot be fulfilled on services "a": Precondition failed: {words} in precondition: 7, '
        f"{words} in object meta: {metadata[field]}"
    )
    store.delete(SERVICES, "default", "a", {field: metadata[field]})
    assert store.page(SERVICES, "", EVERYTHING).items == []


@pytest.mark.parametrize(
    ("obj", "field", "reason", "problem"),
    [
        (
            {"metadata": {}},
            "metadata.name",
            "FieldValueRequired",
            "Required value: name or generateName is required",
        ),
        (
            {"metadata": {"name": "a"}},
            "spec.ports",
            "FieldValueRequired",
            "Required value",
        ),
        (
            {"metadata": {"name": "a"}, "spec": {"clusterIP": "10.96.1.1"}},
            "spec.ports",
            "FieldValueRequired",
            "Required value",
        ),
    ],
)
def test_invalid_services(store: Store, obj: dict[str, Any], field: str, reason: str, problem: str) -> None:
    name = obj["metadata"].get("name", "")
    with pytest.raises(StatusError) as caught:
        store.create(SERVICES, "default", obj)
    assert refusal(caught) == {
        "message": f'Service "{name}" is invalid: {field}: {problem}',
        "reason": "Invalid",
        "details": {
            "name": name,
            "kind": "Service",
            "causes": [{"reason": reason, "message": problem, "field": field}],
        },
        "code": 422,
    }
    assert store.version == 101


def test_a_cluster_ip_stays(store: Store) -> None:
    store.create(SERVICES, "default", service("a"))
    moved = service("a")
    moved["spec"]["clusterIP"] = "10.96.1.2"
    with pytest.raises(StatusError) as caught:
        store.replace(SERVICES, "default", "a", moved)
    assert refusal(caught)["message"] == (
        'Service "a" is invalid: spec.clusterIPs[0]: Invalid value: []string{"10.96.1.2"}: may not change once set'
    )


def test_a_slice_needs_an_address_type(store: Store) -> None:
    with pytest.raises(StatusError) as caught:
        store.create(ENDPOINT_SLICES, "default", {"metadata": {"name": "a"}, "endpoints": []})
    assert refusal(caught)["message"] == (
        'EndpointSlice.discovery.k8s.io "a" is invalid: addressType: Required value: one of "FQDN", "IPv4", "IPv6"'
    )


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"name": "a", "resourceVersion": "5"}, "resourceVersion should not be set on objects to be created"),
        (
            {"name": "a", "namespace": "other"},
            "the namespace of the provided object does not match the namespace sent on the request",
        ),
        ("a", "metadata must be an object"),
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


@pytest.mark.parametrize("resource", [SERVICES, NODES])
def test_the_status_stays_when_a_client_sends_none(store: Store, resource: Resource) -> None:
    namespace = "default" if resource.namespaced else ""
    status = {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}
    store.create(resource, namespace, {**service("a"), "status": status})
    replaced = store.replace(resource, namespace, "a", service("a", new="1"))
    assert replaced.decoded()["status"] == status


def test_the_defaults_make_no_difference_to_a_replace(store: Store) -> None:
    made = store.create(SERVICES, "default", service("a"))
    assert store.replace(SERVICES, "default", "a", service("a")) is made


def test_a_replace_of_another_object_of_that_name(store: Store) -> None:
    uid = store.create(SERVICES, "default", service("a")).decoded()["metadata"]["uid"]
    other = service("a")
    other["metadata"]["uid"] = "7"
    with pytest.raises(StatusError) as caught:
        store.replace(SERVICES, "default", "a", other)
    assert refusal(caught)["message"] == (
        'Operation cannot be fulfilled on services "a": Precondition failed: UID in precondition: 7, '
        f"UID in object meta: {uid}"
    )


def test_a_long_generated_name_has_room_for_its_suffix(store: Store) -> None:
    made = store.create(SERVICES, "default", {**service("x"), "metadata": {"generateName": "a" * 80}})
    assert (len(made.name), made.name[:58]) == (63, "a" * 58)


def test_a_dry_run_tells_and_stores_nothing(store: Store) -> None:
    made = store.create(SERVICES, "default", service("a"))
    version = store.version
    tried = store.create(SERVICES, "default", service("b"), dry_run=True).decoded()
    assert tried["spec"]["clusterIPs"] == ["10.96.1.1"]
    assert "resourceVersion" not in tried["metadata"]
    changed = store.replace(SERVICES, "default", "a", service("a", new="1"), dry_run=True).decoded()
    assert (changed["metadata"]["labels"], changed["metadata"]["resourceVersion"]) == ({"new": "1"}, str(version))
    assert store.delete(SERVICES, "default", "a", dry_run=True) is made
    assert store.delete_collection(SERVICES, "default", EVERYTHING, dry_run=True) == [made]
    assert store.page(SERVICES, "", EVERYTHING).items == [made]
    assert store.version == version


def test_a_dry_run_refuses_what_would_be_refused(store: Store) -> None:
    store.create(SERVICES, "default", service("a"))
    with pytest.raises(StatusError, match="already exists"):
        store.create(SERVICES, "default", service("a"), dry_run=True)
    with pytest.raises(StatusError, match="is invalid"):
        store.create(SERVICES, "default", service("B"), dry_run=True)


def test_the_past_can_be_listed(store: Store) -> None:
    seen: dict[int, list[bytes]] = {}

    def note() -> None:
        seen[store.version] = [item.raw for item in store.page(SERVICES, "", EVERYTHING).items]

    note()
    for name in "bac":
        store.create(SERVICES, "default", service(name))
        note()
    store.replace(SERVICES, "default", "a", service("a", new="1"))
    note()
    store.delete(SERVICES, "default", "b")
    note()
    store.create(SERVICES, "default", service("b"))
    for version, items in seen.items():
        page = store.page(SERVICES, "", EVERYTHING, version=version)
        assert ([item.raw for item in page.items], page.version) == (items, version)


def test_a_past_that_is_forgotten() -> None:
    store = Store(first_version=1, log_capacity=4)
    for number in range(6):
        store.create(SERVICES, "default", service(f"s{number}"))
    with pytest.raises(StatusError) as caught:
        store.page(SERVICES, "", EVERYTHING, version=3)
    assert refusal(caught) == {"message": "too old resource version: 3 (4)", "reason": "Expired", "code": 410}


def test_pages_are_of_one_moment(store: Store) -> None:
    for name in "edcba":
        store.create(SERVICES, "default", service(name))
    first = store.page(SERVICES, "", EVERYTHING, limit=2)
    store.delete(SERVICES, "default", "d")
    store.create(SERVICES, "default", service("bb"))
    second = store.page(SERVICES, "", EVERYTHING, limit=2, token=first.token)
    third = store.page(SERVICES, "", EVERYTHING, limit=2, token=second.token)
    assert [[item.name for item in page.items] for page in (first, second, third)] == [["a", "b"], ["c", "d"], ["e"]]
    assert [page.remaining for page in (first, second, third)] == [3, 1, None]
    assert {page.version for page in (first, second, third)} == {106}
    assert third.token == ""


def test_a_page_count_skips_what_is_not_selected(store: Store) -> None:
    for number in range(6):
        store.create(SERVICES, "default", service(f"s{number}", even=str(number % 2 == 0)))
    even = parse_selection("even=True")
    first = store.page(SERVICES, "", even, limit=2)
    assert ([item.name for item in first.items], first.remaining) == (["s0", "s2"], None)
    assert [item.name for item in store.page(SERVICES, "", even, limit=2, token=first.token).items] == ["s4"]


def test_too_many_lists_under_way(store: Store) -> None:
    for name in "ab":
        store.create(SERVICES, "default", service(name))
    oldest = store.page(SERVICES, "", EVERYTHING, limit=1).token
    for number in range(8):
        store.create(NODES, "", {"metadata": {"name": f"n{number}"}})
        store.page(SERVICES, "", EVERYTHING, limit=1)
    with pytest.raises(StatusError) as caught:
        store.page(SERVICES, "", EVERYTHING, limit=1, token=oldest)
    assert refusal(caught) == {
        "message": "The provided continue parameter is too old to display a consistent list result. "
        "You must start a new list without the continue parameter.",
        "reason": "Expired",
        "code": 410,
    }


@pytest.mark.parametrize("token", ["!", "bm9uc2Vuc2U=", "MQ==", "W1tdLDFd", "eyJhIjoxfQ=="])
def test_a_token_that_is_none(store: Store, token: str) -> None:
    with pytest.raises(StatusError) as caught:
        store.page(SERVICES, "", EVERYTHING, token=token)
    assert refusal(caught) == {"message": "continue key is not valid", "reason": "BadRequest", "code": 400}


def test_events_that_are_forgotten() -> None:
    store = Store(first_version=1, log_capacity=4)
    for number in range(6):
        store.create(SERVICES, "default", service(f"s{number}"))
    assert [event.now.name for event in store.events_after(SERVICES, 4)] == ["s2", "s3", "s4", "s5"]
    with pytest.raises(StatusError) as caught:
        store.events_after(SERVICES, 3)
    assert refusal(caught) == {"message": "too old resource version: 3 (4)", "reason": "Expired", "code": 410}


def test_events_of_the_future(store: Store) -> None:
    with pytest.raises(StatusError) as caught:
        store.events_after(SERVICES, 999)
    assert refusal(caught) == {
        "message": "Too large resource version: 999, current: 101",
        "reason": "Timeout",
        "details": {
            "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
            "retryAfterSeconds": 1,
        },
        "code": 504,
    }


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
    assert store.page(SERVICES, "", EVERYTHING).items == [kept]
    with pytest.raises(StatusError, match='namespaces "ns" not found'):
        store.create(SERVICES, "ns", service("a"))


def test_a_collection_of_namespaces_takes_its_objects_with_it(store: Store) -> None:
    store.create(NAMESPACES, "", {"metadata": {"name": "ns", "labels": {"gone": "1"}}})
    store.create(SERVICES, "ns", service("a"))
    store.delete_collection(NAMESPACES, "", parse_selection("gone=1"))
    assert store.page(SERVICES, "", EVERYTHING).items == []


def test_the_default_namespace_stays(store: Store) -> None:
    with pytest.raises(StatusError) as caught:
        store.delete(NAMESPACES, "", "default")
    assert refusal(caught) == {
        "message": 'namespaces "default" is forbidden: this namespace may not be deleted',
        "reason": "Forbidden",
        "details": {"name": "default", "kind": "namespaces"},
        "code": 403,
    }


def test_an_object_that_is_nested_too_deeply(store: Store) -> None:
    deep: dict[str, Any] = {}
    for _ in range(300):
        deep = {"x": deep}
    with pytest.raises(StatusError) as caught:
        store.create(NODES, "", {"metadata": {"name": "n"}, "deep": deep})
    assert refusal(caught) == {
        "message": "the object cannot be stored: Recursion limit reached",
        "reason": "BadRequest",
        "code": 400,
    }


def test_listeners_hear_of_changes_until_they_do_not(store: Store) -> None:
    heard: list[str] = []
    stop = store.subscribe(lambda resource: heard.append(resource.plural))
    store.create(SERVICES, "default", service("a"))
    stop()
    store.create(SERVICES, "default", service("b"))
    assert heard == ["services"]
