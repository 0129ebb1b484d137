from __future__ import annotations

from typing import Any

import orjson
import pytest

from proxybench.kube.patch import JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, apply_patch
from proxybench.kube.status import StatusError


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
    assert apply_patch(kind, before, orjson.dumps(patch)) == after


def test_json_patch() -> None:
    patch = [
        {"op": "test", "path": "/a", "value": 1},
        {"op": "add", "path": "/l/-", "value": 3},
        {"op": "remove", "path": "/a"},
    ]
    assert apply_patch(JSON_PATCH, {"a": 1, "l": [2]}, orjson.dumps(patch)) == {"l": [2, 3]}


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
        apply_patch(kind, {"a": 1}, body)
    assert caught.value.code == code
    assert words in str(caught.value)


@pytest.mark.parametrize("body", [b"3", b"{}", b"[1]", b'"x"', b"null", b'[{"path":"/x"}]'])
def test_a_json_patch_that_is_none_is_a_bad_request(body: bytes) -> None:
    with pytest.raises(StatusError) as caught:
        apply_patch(JSON_PATCH, {"a": 1}, body)
    assert caught.value.code == 400
