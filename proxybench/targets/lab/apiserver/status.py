"""Kubernetes Status objects: how the API refuses, with the messages that clients rely on.

The shapes and reasons are those of the Kubernetes API conventions ("Response Status Kind").
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proxybench.errors import ApiError

if TYPE_CHECKING:
    from proxybench.kube.resources import Resource

Object = dict[str, Any]


class StatusError(ApiError):
    """A request refused by the API; ``body`` is the Status object that the client is sent."""

    def __init__(self, code: int, reason: str, message: str, details: Object | None = None) -> None:
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


def conflict(resource: Resource, name: str) -> StatusError:
    """409: the client's copy is older than the server's."""
    return StatusError(
        409,
        "Conflict",
        f'Operation cannot be fulfilled on {resource.qualified} "{name}": the object has been modified; please apply '
        "your changes to the latest version and try again",
        _details(resource, name),
    )


def invalid(resource: Resource, name: str, causes: list[tuple[str, str]]) -> StatusError:
    """422: the object can be understood, and no Service proxy could use it; each cause is a field and what is wrong."""
    lines = [f"{field}: {message}" for field, message in causes]
    details = _details(resource, name) | {"kind": resource.kind}
    found = [{"reason": "FieldValueInvalid", "message": message, "field": field} for field, message in causes]
    words = lines[0] if len(lines) == 1 else f"[{', '.join(lines)}]"
    return StatusError(422, "Invalid", f'{resource.kind} "{name}" is invalid: {words}', {**details, "causes": found})


def expired(version: int, oldest: int) -> StatusError:
    """410: the watch starts before the oldest event that is remembered."""
    return StatusError(410, "Expired", f"too old resource version: {version} ({oldest})")


def internal_error(message: str) -> StatusError:
    """500: a mistake of this server's own."""
    return StatusError(500, "InternalError", f"Internal error occurred: {message}", {"causes": [{"message": message}]})


def _details(resource: Resource, name: str) -> Object:
    group = {"group": resource.group} if resource.group else {}
    return {"name": name, **group, "kind": resource.plural}
