from __future__ import annotations

import pytest

from proxybench.kube.resources import SERVICES
from proxybench.targets.lab.apiserver.options import is_watch, watch_options
from proxybench.targets.lab.apiserver.status import StatusError

Query = dict[str, str]
NOT_OLDER = {"resourceVersionMatch": "NotOlderThan"}


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


@pytest.mark.parametrize(("text", "seconds"), [("", 1800), ("0", 1800), ("7", 7)])
def test_the_length_of_a_watch(text: str, seconds: float) -> None:
    assert watch_options({"timeoutSeconds": text}, SERVICES).seconds == seconds


@pytest.mark.parametrize("name", ["resourceVersion", "timeoutSeconds"])
@pytest.mark.parametrize("text", ["x", "-1", "1.5", "²"])
def test_numbers_that_are_none(name: str, text: str) -> None:
    with pytest.raises(StatusError) as caught:
        watch_options({name: text}, SERVICES)
    assert (caught.value.code, str(caught.value)) == (400, f'{name}: Invalid value: "{text}": must be a number')


def test_what_is_a_watch() -> None:
    assert [is_watch({"watch": text}) for text in ("true", "1", "false", "0", "")] == [True, True, False, False, False]
