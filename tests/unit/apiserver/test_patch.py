from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxybench.kube.resources import ENDPOINT_SLICES, NAMESPACES, NODES, SERVICES, Resource
from proxybench.targets.lab.apiserver.patch import JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, apply_patch
from proxybench.targets.lab.apiserver.status import StatusError

if TYPE_CHECKING:
    from collections.abc import Iterator


# The table of RFC 7386, appendix A, as far as the target is an object and stays one.
@pytest.mark.parametrize(
    ("before", "patch", "after"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
@pytest.mark.parametrize("kind", [MERGE_PATCH, STRATEGIC_PATCH])
def test_merge(kind: str, before: dict[str, Any], patch: dict[str, Any], after: dict[str, Any]) -> None:
    assert apply_patch(kind, SERVICES, before, orjson.dumps(patch)) == after


def test_json_patch() -> None:
    patch = [
        {"op": "test", "path": "/a", "value": 1},
        {"op": "add", "path": "/l/-", "value": 3},
        {"op": "remove", "path": "/a"},
    ]
    assert apply_patch(JSON_PATCH, SERVICES, {"a": 1, "l": [2]}, orjson.dumps(patch)) == {"l": [2, 3]}


@pytest.mark.parametrize(
    ("kind", "body", "code", "words"),
    [
        (
            "application/yaml",
            b"",
            415,
            "include: application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch",
        ),
        (MERGE_PATCH, b"[]", 400, "error decoding patch: a merge patch must be an object"),
        (JSON_PATCH, b'[{"op":"remove","path":"/x"}]', 422, "the server rejected our request: "),
        (JSON_PATCH, b'[{"op":"replace","path":"","value":1}]', 422, "the patch leaves no object"),
        (JSON_PATCH, b'[{"op":"jump","path":"/x"}]', 400, "error decoding patch: "),
        (JSON_PATCH, b"{}x", 400, "error decoding patch: "),
    ],
)
def test_refusals(kind: str, body: bytes, code: int, words: str) -> None:
    with pytest.raises(StatusError) as caught:
        apply_patch(kind, SERVICES, {"a": 1}, body)
    assert caught.value.code == code
    assert words in str(caught.value)


@pytest.mark.parametrize("body", [b"3", b"{}", b"[1]", b'"x"', b"null", b'[{"path":"/x"}]'])
def test_a_json_patch_that_is_none_is_a_bad_request(body: bytes) -> None:
    with pytest.raises(StatusError) as caught:
        apply_patch(JSON_PATCH, SERVICES, {"a": 1}, body)
    assert caught.value.code == 400


def strategic(resource: Resource, before: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    return apply_patch(STRATEGIC_PATCH, resource, before, orjson.dumps(patch))


HTTP = {"name": "http", "port": 80, "targetPort": 8080}
DNS = {"name": "dns", "port": 53}


@pytest.mark.parametrize(
    ("patch", "after"),
    [
        ([{"port": 80, "targetPort": 9090}], [{**HTTP, "targetPort": 9090}, DNS]),
        ([{"port": 443}], [HTTP, DNS, {"port": 443}]),
        ([{"port": 80, "$patch": "delete"}], [DNS]),
        ([{"port": 81, "$patch": "delete"}], [HTTP, DNS]),
        ([{"port": 80, "name": None, "$patch": "merge"}], [{"port": 80, "targetPort": 8080}, DNS]),
        ([{"$patch": "replace"}], []),
        ([{"$patch": "replace"}, {"port": 1}], [{"port": 1}]),
        ([{"port": 1}, {"$patch": "replace"}], [{"port": 1}]),
        ([{"port": 80, "$patch": "delete"}, {"port": 80, "name": "new"}], [DNS, {"port": 80, "name": "new"}]),
        ([], [HTTP, DNS]),
    ],
)
def test_a_list_that_is_merged_by_a_key(patch: list[Any], after: list[Any]) -> None:
    before = {"spec": {"ports": [dict(HTTP), dict(DNS)]}}
    assert strategic(SERVICES, before, {"spec": {"ports": patch}}) == {"spec": {"ports": after}}


def test_a_merged_list_that_was_not_there() -> None:
    assert strategic(SERVICES, {}, {"spec": {"ports": [{"port": 80, "name": None}]}}) == {
        "spec": {"ports": [{"port": 80}]}
    }
    assert strategic(SERVICES, {"spec": {"ports": [HTTP]}}, {"spec": {"ports": None}}) == {"spec": {}}


@pytest.mark.parametrize(
    ("resource", "path", "before", "patch", "after"),
    [
        (SERVICES, ("metadata", "finalizers"), ["a", "b"], ["b", "c"], ["a", "b", "c"]),
        (NODES, ("spec", "podCIDRs"), ["10.1.0.0/24"], ["fd00::/64"], ["10.1.0.0/24", "fd00::/64"]),
        (
            NODES,
            ("metadata", "ownerReferences"),
            [{"uid": "1", "name": "a"}],
            [{"uid": "1", "name": "b"}, {"uid": "2"}],
            [{"uid": "1", "name": "b"}, {"uid": "2"}],
        ),
        (
            NODES,
            ("status", "addresses"),
            [{"type": "Hostname", "address": "n"}],
            [{"type": "InternalIP", "address": "10.0.0.1"}],
            [{"type": "Hostname", "address": "n"}, {"type": "InternalIP", "address": "10.0.0.1"}],
        ),
        (NODES, ("spec", "taints"), [{"key": "a"}], [{"key": "b"}], [{"key": "b"}]),
        (SERVICES, ("spec", "externalIPs"), ["192.0.2.1"], ["192.0.2.2"], ["192.0.2.2"]),
        (ENDPOINT_SLICES, ("ports",), [{"port": 1}], [{"port": 2}], [{"port": 2}]),
        (ENDPOINT_SLICES, ("endpoints",), [{"addresses": ["1"]}], [{"addresses": ["2"]}], [{"addresses": ["2"]}]),
        (NAMESPACES, ("spec", "finalizers"), ["kubernetes"], ["x"], ["x"]),
    ],
)
def test_which_lists_are_merged(
    resource: Resource, path: tuple[str, ...], before: list[Any], patch: list[Any], after: list[Any]
) -> None:
    def nested(value: list[Any]) -> dict[str, Any]:
        return {path[0]: {path[1]: value}} if len(path) == 2 else {path[0]: value}

    assert strategic(resource, nested(before), nested(patch)) == nested(after)


@pytest.mark.parametrize(
    ("patch", "after"),
    [
        ({"metadata": {"labels": {"$patch": "replace", "c": "3"}}}, {"metadata": {"labels": {"c": "3"}}}),
        ({"metadata": {"labels": {"$patch": "delete"}}}, {"metadata": {"labels": {}}}),
        ({"metadata": {"labels": {"$patch": "merge", "a": None}}}, {"metadata": {"labels": {"b": "2"}}}),
        (
            {"metadata": {"labels": {"$retainKeys": ["b", "c"], "c": "3"}}},
            {"metadata": {"labels": {"b": "2", "c": "3"}}},
        ),
    ],
)
def test_directives_of_maps(patch: dict[str, Any], after: dict[str, Any]) -> None:
    assert strategic(SERVICES, {"metadata": {"labels": {"a": "1", "b": "2"}}}, patch) == after


def test_values_are_taken_out_of_a_plain_list() -> None:
    patch = {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a", "x"], "finalizers": ["c"]}}
    assert strategic(SERVICES, {"metadata": {"finalizers": ["a", "b"]}}, patch) == {
        "metadata": {"finalizers": ["b", "c"]}
    }


@pytest.mark.parametrize(
    ("order", "patch", "after"),
    [
        ([3, 1], [], [2, 3, 1]),
        ([2, 1], [], [2, 1, 3]),
        ([9, 2], [9], [9, 1, 2, 3]),
        ([1, 9], [9], [1, 9, 2, 3]),
        ([3, 2, 1], [], [3, 2, 1]),
        ([], [], [1, 2, 3]),
    ],
)
def test_the_order_of_a_merged_list(order: list[int], patch: list[int], after: list[int]) -> None:
    def ports(numbers: list[int]) -> list[dict[str, int]]:
        return [{"port": number} for number in numbers]

    body = {"spec": {"$setElementOrder/ports": ports(order), "ports": ports(patch)}}
    assert strategic(SERVICES, {"spec": {"ports": ports([1, 2, 3])}}, body) == {"spec": {"ports": ports(after)}}


NOT_HERE = "{} has no meaning here: what is there is replaced as a whole"


@pytest.mark.parametrize(
    ("patch", "words"),
    [
        ({"$patch": "jump"}, "the object: $patch must be merge, replace or delete"),
        ({"$other": 1}, "the object: this server knows no directive $other"),
        ({"spec": {"ports": ["x"]}}, "spec.ports: every element must be an object"),
        ({"spec": {"ports": [{"name": "x"}]}}, "spec.ports: every element must hold the merge key port"),
        ({"spec": {"ports": [{"$patch": "delete"}]}}, "spec.ports: every element must hold the merge key port"),
        (
            {"spec": {"ports": [{"port": 1, "$patch": "jump"}]}},
            "spec.ports: $patch must be merge, replace or delete",
        ),
        (
            {"spec": {"ports": [{"port": 1, "$patch": "replace"}]}},
            "spec.ports: an element with $patch: replace must hold nothing else",
        ),
        ({"spec": {"ports": [{"port": 1, "$x": 1}]}}, "spec.ports[]: this server knows no directive $x"),
        ({"spec": {"externalIPs": [{"$patch": "delete"}]}}, "spec.externalIPs: " + NOT_HERE.format("$patch")),
        ({"metadata": {"finalizers": [{"$patch": "delete"}]}}, "metadata.finalizers: " + NOT_HERE.format("$patch")),
        ({"spec": {"$patch": "replace", "a": {"$patch": "delete"}}}, "spec: " + NOT_HERE.format("$patch")),
        ({"spec": {"$retainKeys": "a"}}, "spec: $retainKeys must be a list"),
        ({"spec": {"$retainKeys": ["a"], "b": 1}}, "spec: b is set, but not in $retainKeys"),
        (
            {"spec": {"$deleteFromPrimitiveList/ports": [1]}},
            "spec.ports: is no list of plain values that can be merged",
        ),
        (
            {"metadata": {"$deleteFromPrimitiveList/finalizers": 1}},
            "metadata: $deleteFromPrimitiveList/finalizers must be a list",
        ),
        ({"spec": {"$setElementOrder/externalIPs": []}}, "spec.externalIPs: is no list that can be merged"),
        (
            {"spec": {"$setElementOrder/ports": [1]}},
            "spec.ports: every element of $setElementOrder/ports must hold the merge key port",
        ),
    ],
)
def test_a_strategic_patch_that_is_not_understood_is_refused(patch: dict[str, Any], words: str) -> None:
    with pytest.raises(StatusError) as caught:
        strategic(SERVICES, {"spec": {"ports": []}}, patch)
    assert (caught.value.code, str(caught.value)) == (400, f"error applying patch: {words}")


@pytest.mark.parametrize("kind", [MERGE_PATCH, STRATEGIC_PATCH])
def test_a_patch_that_is_nested_too_deeply(kind: str) -> None:
    with pytest.raises(StatusError) as caught:
        apply_patch(kind, SERVICES, {}, b'{"a":' * 1000 + b"1" + b"}" * 1000)
    assert (caught.value.code, str(caught.value)) == (400, "error decoding patch: it is nested too deeply")


@pytest.mark.parametrize("path", ["/a/b", "/a/b/c", "/l/x", "/l/-1", "/l/7"])
@pytest.mark.parametrize("op", ["add", "replace", "remove", "test"])
def test_a_json_patch_of_what_is_not_there_is_refused(op: str, path: str) -> None:
    with pytest.raises(StatusError) as caught:
        apply_patch(JSON_PATCH, SERVICES, {"a": "text", "l": []}, orjson.dumps([{"op": op, "path": path, "value": 1}]))
    assert caught.value.code == 422


KEYS = st.sampled_from(["spec", "ports", "port", "metadata", "finalizers", "$patch", "$x"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["spec", "ports", "port", "metadata", "finalizers", "$patch", "$x"]), inner, max_size=3
        )
    ),
    max_leaves=8,
)


@settings(deadline=None)
@given(patch=st.dictionaries(st.sampled_from(["spec", "metadata", "status"]), VALUES))
def test_no_directive_is_ever_stored(patch: dict[str, Any]) -> None:
    def keys(value: Any) -> Iterator[str]:
        for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            yield from keys(item)
        yield from value if isinstance(value, dict) else ()

    before: dict[str, Any] = {"spec": {"ports": [dict(HTTP)]}, "metadata": {"finalizers": ["a"]}}
    with contextlib.suppress(StatusError):
        assert not any(key.startswith("$") for key in keys(strategic(SERVICES, before, patch)))
