"""Kubernetes Status objects: how the API says no, with the words that clients have come to rely on.

The shapes and reasons are those of the Kubernetes API conventions ("Response Status Kind").
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from proxybench.errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxybench.kube.resources import Resource

Object = dict[str, Any]


class Cause(NamedTuple):
    """One thing that is wrong with one field; ``reason`` is FieldValueRequired and the like."""

    reason: str
    message: str
    field: str


class StatusError(ApiError):
    """A request refused by the API; ``body`` is the Status object that the client is sent."""

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        details: Object | None = None,
    ) -> None:
        self.code = code
        self.reason = reason
        self.body: Object = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": message,
            "reason": reason,
            **({"details": details} if details is not None else {}),
            "code": code,
        }
        super().__init__(message, code)


def success(resource: Resource, name: str, uid: str) -> Object:
    """Return the Status that answers a finished delete."""
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": {**_details(resource, name), "uid": uid},
    }


def unauthorized() -> StatusError:
    """401: the bearer token is missing or wrong."""
    return StatusError(401, "Unauthorized", "Unauthorized")


def bad_request(message: str) -> StatusError:
    """400: the request cannot be understood."""
    return StatusError(400, "BadRequest", message)


def forbidden(resource: Resource, name: str, why: str) -> StatusError:
    """403: nobody may do this."""
    message = f'{resource.qualified} "{name}" is forbidden: {why}'
    return StatusError(403, "Forbidden", message, _details(resource, name))


def no_such_path() -> StatusError:
    """404: the path names no resource of this server."""
    return StatusError(404, "NotFound", "the server could not find the requested resource", {})


def not_found(resource: Resource, name: str) -> StatusError:
    """404: the resource exists, the object does not."""
    return StatusError(404, "NotFound", f'{resource.qualified} "{name}" not found', _details(resource, name))


def method_not_allowed() -> StatusError:
    """405: the resource exists, the verb does not."""
    return StatusError(405, "MethodNotAllowed", "the server does not allow this method on the requested resource", {})


def not_acceptable() -> StatusError:
    """406: the client takes nothing that this server can write."""
    return StatusError(406, "NotAcceptable", "only the following media types are accepted: application/json")


def already_exists(resource: Resource, name: str) -> StatusError:
    """409: create of a name that is taken."""
    return StatusError(409, "AlreadyExists", f'{resource.qualified} "{name}" already exists', _details(resource, name))


def conflict(resource: Resource, name: str, cause: str | None = None) -> StatusError:
    """409: the client's copy is older than the server's, or a precondition does not hold."""
    why = cause or ("the object has been modified; please apply your changes to the latest version and try again")
    return StatusError(
        409,
        "Conflict",
        f'Operation cannot be fulfilled on {resource.qualified} "{name}": {why}',
        _details(resource, name),
    )


def failed_precondition(resource: Resource, name: str, field: str, wanted: object, found: object) -> StatusError:
    """409: the object is not the one, or not the version, that the client means."""
    words = f"{field} in precondition: {wanted}, {field} in object meta: {found}"
    return conflict(resource, name, f"Precondition failed: {words}")


def expired(version: int, oldest: int) -> StatusError:
    """410: the watch starts before the oldest event that is remembered."""
    return StatusError(410, "Expired", f"too old resource version: {version} ({oldest})")


def continue_expired() -> StatusError:
    """410: the pages of a list can no longer be continued."""
    return StatusError(
        410,
        "Expired",
        "The provided continue parameter is too old to display a consistent list result. "
        "You must start a new list without the continue parameter.",
    )


def too_large(limit: int) -> StatusError:
    """413: the body of the request is larger than the server reads."""
    return StatusError(413, "RequestEntityTooLarge", f"Request entity too large: limit is {limit}")


def unsupported_media(accepted: str) -> StatusError:
    """415: the body is of a kind that this server does not read."""
    return StatusError(
        415,
        "UnsupportedMediaType",
        "the body of the request was in an unknown format - accepted media types include: " + accepted,
    )


def invalid(resource: Resource, name: str, causes: Sequence[Cause]) -> StatusError:
    """422: fields of the object are wrong, one cause for each."""
    return _invalid(resource.kind, name, resource.group, causes)


def invalid_options(kind: str, causes: Sequence[Cause]) -> StatusError:
    """422: parameters of the request are wrong; ``kind`` is ListOptions, CreateOptions and the like."""
    return _invalid(kind, "", "meta.k8s.io", causes)


def internal_error(words: str) -> StatusError:
    """500: a mistake of this server's own."""
    return StatusError(500, "InternalError", f"Internal error occurred: {words}", {"causes": [{"message": words}]})


def version_too_large(version: int, current: int) -> StatusError:
    """504: the client names a version that does not exist yet."""
    return StatusError(
        504,
        "Timeout",
        f"Too large resource version: {version}, current: {current}",
        {
            "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
            "retryAfterSeconds": 1,
        },
    )


def _details(resource: Resource, name: str) -> Object:
    group = {"group": resource.group} if resource.group else {}
    return {"name": name, **group, "kind": resource.plural}


def _invalid(kind: str, name: str, group: str, causes: Sequence[Cause]) -> StatusError:
    words = [f"{cause.field}: {cause.message}" for cause in causes]
    problem = words[0] if len(words) == 1 else f"[{', '.join(words)}]"
    qualified = f"{kind}.{group}" if group else kind
    details: Object = {
        "name": name,
        **({"group": group} if group else {}),
        "kind": kind,
        "causes": [cause._asdict() for cause in causes],
    }
    return StatusError(422, "Invalid", f'{qualified} "{name}" is invalid: {problem}', details)
