"""The three kinds of PATCH (pure).

JSON merge patch is RFC 7386, JSON patch RFC 6902 (by the jsonpatch package), strategic merge patch Kubernetes' own. The
fourth kind, server-side apply, is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

import jsonpatch
import orjson

from proxybench.targets.lab.apiserver.status import Object, StatusError, bad_request, unsupported_media
from proxybench.targets.lab.apiserver.strategic import strategic_merge

if TYPE_CHECKING:
    from proxybench.kube.resources import Resource

JSON_PATCH: Final = "application/json-patch+json"
MERGE_PATCH: Final = "application/merge-patch+json"
STRATEGIC_PATCH: Final = "application/strategic-merge-patch+json"


def apply_patch(content_type: str, resource: Resource, before: Object, body: bytes) -> Object:
    """Return the patched object; ``before`` may be changed. Raises StatusError (400, 415, 422)."""
    if content_type not in {JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH}:
        raise unsupported_media(f"{JSON_PATCH}, {MERGE_PATCH}, {STRATEGIC_PATCH}")
    try:
        patch = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise bad_request(f"error decoding patch: {error}") from error
    if content_type == JSON_PATCH:
        return _json_patch(before, patch)
    if not isinstance(patch, dict):
        raise bad_request("error decoding patch: a merge patch must be an object")
    try:
        if content_type == STRATEGIC_PATCH:
            return strategic_merge(resource, before, patch)
        return cast("Object", _merged(before, patch))
    except RecursionError as error:
        raise bad_request("error decoding patch: it is nested too deeply") from error


def _json_patch(before: Object, patch: Any) -> Object:  # noqa: ANN401 - any JSON value; jsonpatch checks it
    try:
        after = jsonpatch.JsonPatch(patch).apply(before)
    except jsonpatch.InvalidJsonPatch as error:
        raise bad_request(f"error decoding patch: {error}") from error
    except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException, TypeError, ValueError) as error:
        # The package does not wrap what Python says of a path through a text or a number.
        raise StatusError(422, "Invalid", f"the server rejected our request: {error}") from error
    if not isinstance(after, dict):
        raise StatusError(422, "Invalid", "the server rejected our request: the patch leaves no object")
    return after


def _merged(target: Any, patch: Any) -> Any:  # noqa: ANN401 - any JSON value
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merged(merged.get(key), value)
    return merged
