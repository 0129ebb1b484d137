"""The query parameters of a request, parsed and checked (pure).

The rules are those of the Kubernetes documentation, "Kubernetes API Concepts": resource versions, watch bookmarks,
streaming lists and dry run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from proxybench.targets.lab.apiserver.problems import Problems
from proxybench.targets.lab.apiserver.selectors import Selection, parse_selection
from proxybench.targets.lab.apiserver.status import bad_request, invalid_options

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxybench.kube.resources import Resource

WATCH_SECONDS: Final = 1800.0  # when the client names no limit
_MOST_SECONDS: Final = 86_400.0  # the longest watch
_TRUE: Final = frozenset({"true", "1"})
_EXACT: Final = "Exact"
_NOT_OLDER: Final = "NotOlderThan"
_DIGITS: Final = 19  # of a number of 64 bits


class ListOptions(NamedTuple):
    """What a list asks for; ``exact`` wants the state of ``version``, and not one at least as new."""

    selection: Selection
    limit: int
    token: str
    version: int
    exact: bool


class WatchOptions(NamedTuple):
    """What a watch asks for. It starts after ``version``, or with all there is (``initial``)."""

    selection: Selection
    version: int
    initial: bool
    marks_end: bool  # of the initial events, with a bookmark
    bookmarks: bool
    seconds: float


def is_watch(query: Mapping[str, str]) -> bool:
    """Tell whether a GET is a watch."""
    return query.get("watch") in _TRUE


def list_options(query: Mapping[str, str], resource: Resource) -> ListOptions:
    """Parse the parameters of a list. Raises StatusError (400, 422)."""
    version = _number(query, "resourceVersion")
    token = query.get("continue", "")
    match = query.get("resourceVersionMatch", "")
    limit = _number(query, "limit")
    problems = Problems()
    if match:
        if not query.get("resourceVersion"):
            why = "resourceVersionMatch is forbidden unless resourceVersion is provided"
            problems.forbidden("resourceVersionMatch", why)
        if token:
            problems.forbidden("resourceVersionMatch", "resourceVersionMatch is forbidden when continue is provided")
        if match not in {_EXACT, _NOT_OLDER}:
            problems.unsupported("resourceVersionMatch", match, ["", _EXACT, _NOT_OLDER])
        if match == _EXACT and query.get("resourceVersion") == "0":
            why = 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"'
            problems.forbidden("resourceVersionMatch", why)
    if "sendInitialEvents" in query:
        problems.forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list")
    if problems.causes:
        raise invalid_options("ListOptions", problems.causes)
    if token and version:
        raise bad_request("specifying resource version is not allowed when using continue")
    # Without a word on it, a limited list of a version is an exact one.
    exact = match == _EXACT or (not match and version > 0 and limit > 0)
    return ListOptions(selection(query, resource), limit, token, version, exact)


def watch_options(query: Mapping[str, str], resource: Resource) -> WatchOptions:
    """Parse the parameters of a watch. Raises StatusError (400, 422)."""
    version = _number(query, "resourceVersion")
    match = query.get("resourceVersionMatch", "")
    initial = query.get("sendInitialEvents")
    problems = Problems()
    if initial is not None and match != _NOT_OLDER:
        why = f"sendInitialEvents requires setting resourceVersionMatch to {_NOT_OLDER}"
        problems.forbidden("resourceVersionMatch", why)
    if match and initial is None:
        why = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
        problems.forbidden("resourceVersionMatch", why)
    if match and match != _NOT_OLDER:
        problems.unsupported("resourceVersionMatch", match, [_NOT_OLDER])
    if problems.causes:
        raise invalid_options("ListOptions", problems.causes)
    bookmarks = query.get("allowWatchBookmarks") in _TRUE
    wanted = initial in _TRUE
    return WatchOptions(
        selection=selection(query, resource),
        version=version,
        initial=wanted or (initial is None and not version),
        marks_end=wanted and bookmarks,
        bookmarks=bookmarks,
        seconds=min(float(_number(query, "timeoutSeconds")) or WATCH_SECONDS, _MOST_SECONDS),
    )


def selection(query: Mapping[str, str], resource: Resource) -> Selection:
    """Parse the two selectors. Raises StatusError (400)."""
    return parse_selection(query.get("labelSelector", ""), query.get("fieldSelector", ""), resource)


def dry_run(kind: str, values: list[str]) -> bool:
    """Tell whether nothing is to be stored; ``kind`` is CreateOptions and the like. Raises StatusError (422)."""
    problems = Problems()
    for value in values:
        if value != "All":
            problems.unsupported("dryRun", value, ["All"])
    if problems.causes:
        raise invalid_options(kind, problems.causes)
    return bool(values)


def _number(query: Mapping[str, str], name: str) -> int:
    text = query.get(name) or "0"
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS):
        raise bad_request(f'{name}: Invalid value: "{text}": must be a number')
    return int(text)
