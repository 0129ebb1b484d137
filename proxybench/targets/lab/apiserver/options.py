"""The query parameters of a watch (pure), as "Kubernetes API Concepts" defines them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from proxybench.targets.lab.apiserver.selectors import Selection, parse_selection
from proxybench.targets.lab.apiserver.status import bad_request

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxybench.kube.resources import Resource

WATCH_SECONDS: Final = 1800.0  # when the client names no limit
_TRUE: Final = frozenset({"true", "1"})


class WatchOptions(NamedTuple):
    """What a watch asks for. It starts after ``version`` (0: now), or with all there is (``initial``).

    ``marks_end`` asks for a bookmark after the initial events, ``bookmarks`` for one now and then; ``seconds`` is how
    long it lasts.
    """

    selection: Selection
    version: int
    initial: bool
    marks_end: bool
    bookmarks: bool
    seconds: float


def is_watch(query: Mapping[str, str]) -> bool:
    """Tell whether a GET is a watch."""
    return query.get("watch") in _TRUE


def watch_options(query: Mapping[str, str], resource: Resource) -> WatchOptions:
    """Parse the parameters of a watch. Raises StatusError (400)."""
    version = _number(query, "resourceVersion")
    initial = query.get("sendInitialEvents")
    wanted = initial in _TRUE
    bookmarks = query.get("allowWatchBookmarks") in _TRUE
    return WatchOptions(
        selection=selection(query, resource),
        version=version,
        initial=wanted or (initial is None and not version),
        marks_end=wanted and bookmarks,
        bookmarks=bookmarks,
        seconds=float(_number(query, "timeoutSeconds")) or WATCH_SECONDS,
    )


def selection(query: Mapping[str, str], resource: Resource) -> Selection:
    """Parse the two selectors. Raises StatusError (400)."""
    return parse_selection(query.get("labelSelector", ""), query.get("fieldSelector", ""), resource)


def _number(query: Mapping[str, str], name: str) -> int:
    text = query.get(name) or "0"
    if not (text.isascii() and text.isdigit()):
        raise bad_request(f'{name}: Invalid value: "{text}": must be a number')
    return int(text)
