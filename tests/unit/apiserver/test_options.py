from __future__ import annotations

import pytest

from proxybench.kube.resources import SERVICES
from proxybench.targets.lab.apiserver.options import dry_run, is_watch, list_options, watch_options
from proxybench.targets.lab.apiserver.selectors import EVERYTHING
from proxybench.targets.lab.apiserver.status import StatusError

Query = dict[str, str]
NOT_OLDER = {"resourceVersionMatch": "NotOlderThan"}


@pytest.mark.parametrize(
    ("query", "version", "exact"),
    [
        ({}, 0, False),
        ({"resourceVersion": ""}, 0, False),
        ({"resourceVersion": "0", "limit": "500"}, 0, False),
        ({"resourceVersion": "7"}, 7, False),
        ({"resourceVersion": "7", "limit": "500"}, 7, True),
        ({"resourceVersion": "7", "limit": "500", **NOT_OLDER}, 7, False),
        ({"resourceVersion": "7", "resourceVersionMatch": "Exact"}, 7, True),
        ({"resourceVersion": "0", **NOT_OLDER}, 0, False),
    ],
)
def test_lists(query: Query, version: int, exact: bool) -> None:
    found = list_options(query, SERVICES)
    assert (found.version, found.exact, found.selection) == (version, exact, EVERYTHING)


FORBIDDEN = "resourceVersionMatch: Forbidden: resourceVersionMatch"


@pytest.mark.parametrize(
    ("query", "words"),
    [
        (NOT_OLDER, f"{FORBIDDEN} is forbidden unless resourceVersion is provided"),
        ({"resourceVersion": "7", "continue": "x", **NOT_OLDER}, f"{FORBIDDEN} is forbidden when continue is provided"),
        (
            {"resourceVersion": "0", "resourceVersionMatch": "Exact"},
            f'{FORBIDDEN} "exact" is forbidden for resourceVersion "0"',
        ),
        (
            {"resourceVersion": "7", "resourceVersionMatch": "Newer"},
            'resourceVersionMatch: Unsupported value: "Newer": supported values: "", "Exact", "NotOlderThan"',
        ),
        ({"sendInitialEvents": "true"}, "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list"),
    ],
)
def test_lists_that_cannot_be(query: Query, words: str) -> None:
    with pytest.raises(StatusError) as caught:
        list_options(query, SERVICES)
    assert (caught.value.code, str(caught.value)) == (422, f'ListOptions.meta.k8s.io "" is invalid: {words}')
    assert caught.value.body["details"]["kind"] == "ListOptions"


@pytest.mark.parametrize("name", ["limit", "resourceVersion"])
@pytest.mark.parametrize("text", ["x", "-1", "1.5", "²", "9" * 20, "9" * 5000])
def test_numbers_that_are_none(name: str, text: str) -> None:
    with pytest.raises(StatusError) as caught:
        list_options({name: text}, SERVICES)
    assert (caught.value.code, str(caught.value)) == (400, f'{name}: Invalid value: "{text}": must be a number')


@pytest.mark.parametrize(
    ("query", "initial", "marks_end"),
    [
        ({}, True, False),
        ({"resourceVersion": "0"}, True, False),
        ({"resourceVersion": "7"}, False, False),
        ({"sendInitialEvents": "true", "resourceVersion": "7", **NOT_OLDER}, True, False),
        ({"sendInitialEvents": "true", "allowWatchBookmarks": "true", **NOT_OLDER}, True, True),
        ({"sendInitialEvents": "false", "allowWatchBookmarks": "true", **NOT_OLDER}, False, False),
    ],
)
def test_watches(query: Query, initial: bool, marks_end: bool) -> None:
    found = watch_options(query, SERVICES)
    assert (found.initial, found.marks_end) == (initial, marks_end)


@pytest.mark.parametrize(("text", "seconds"), [("", 1800), ("0", 1800), ("7", 7), ("9" * 19, 86_400)])
def test_the_length_of_a_watch(text: str, seconds: float) -> None:
    assert watch_options({"timeoutSeconds": text}, SERVICES).seconds == seconds


@pytest.mark.parametrize(
    ("query", "words"),
    [
        (
            {"sendInitialEvents": "true"},
            "resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        ),
        (NOT_OLDER, f"{FORBIDDEN} is forbidden for watch unless sendInitialEvents is provided"),
    ],
)
def test_watches_that_cannot_be(query: Query, words: str) -> None:
    with pytest.raises(StatusError) as caught:
        watch_options(query, SERVICES)
    assert (caught.value.code, str(caught.value)) == (422, f'ListOptions.meta.k8s.io "" is invalid: {words}')


def test_what_is_a_watch() -> None:
    assert [is_watch({"watch": text}) for text in ("true", "1", "false", "0", "")] == [True, True, False, False, False]


def test_dry_run() -> None:
    assert (dry_run("CreateOptions", []), dry_run("CreateOptions", ["All", "All"])) == (False, True)
