from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from proxybench.errors import MeasurementError
from proxybench.model import Scenario
from proxybench.nodes.watch import HeldSeen, Seen, Stretch
from proxybench.scenarios.event import Watch, record_held, record_seen
from tests.unit.scenarios.rows import rows

if TYPE_CHECKING:
    from proxybench.scenarios.recorder import Recorder


def seen(*stretches: tuple[str, int, int, int]) -> Seen:
    return Seen(tuple(Stretch(*one) for one in stretches), {}, 6)


def test_the_service_that_fared_worst_is_the_outage_and_all_are_counted(recorder: Recorder) -> None:
    targets = {
        "a": seen(("answered", 0, 90, 19), ("silent", 95, 100, 2), ("answered", 105, 200, 20)),
        "b": seen(
            ("answered", 0, 50, 11), ("refused", 55, 100, 10), ("wrong", 105, 110, 2), ("answered", 116, 200, 18)
        ),
    }
    record_seen(recorder, Scenario.RESTART, targets, 200)
    assert rows(recorder) == [
        ("event.outage", "restart", "cluster_ip", "none", 61, "ns", False),
        ("event.lost", "restart", "cluster_ip", "none", 4, "connections", False),
        ("event.refused", "restart", "cluster_ip", "none", 10, "connections", False),
        ("event.attempts", "restart", "cluster_ip", "none", 82, "connections", False),
    ]
    assert recorder.samples[0].uncertainty == 5 + 6


def test_without_an_outage_it_is_0_as_far_as_the_attempts_could_tell(recorder: Recorder) -> None:
    record_seen(recorder, Scenario.RESTART, {"a": seen(("answered", 0, 100, 20))}, 100)
    sample = recorder.samples[0]
    assert (sample.value, sample.censored, sample.uncertainty) == (0, False, 6)


def test_service_that_does_not_return_is_a_lower_bound(recorder: Recorder) -> None:
    record_seen(recorder, Scenario.RESTART, {"a": seen(("answered", 0, 90, 19), ("silent", 95, 190, 20))}, 200)
    assert rows(recorder)[0] == ("event.outage", "restart", "cluster_ip", "none", 105, "ns", True)


def test_held_connections_are_counted_when_they_broke(recorder: Recorder) -> None:
    held = {"a": HeldSeen(70, ""), "b": HeldSeen(900, "silent")}
    record_held(recorder, Scenario.RESTART, held)
    assert [row[:1] + row[4:] for row in rows(recorder)] == [
        ("event.broken", 1, "connections", False),
        ("event.stall", 900, "ns", True),
    ]


@pytest.mark.parametrize(
    ("held", "stall"),
    [
        ({"a": HeldSeen(900, "reset"), "b": HeldSeen(70, "")}, (900, False)),
        ({"a": HeldSeen(900, ""), "b": HeldSeen(70, "silent")}, (900, False)),
        ({"a": HeldSeen(900, ""), "b": HeldSeen(900, "silent")}, (900, True)),
    ],
)
def test_only_a_silence_that_did_not_end_is_a_lower_bound(
    recorder: Recorder, held: dict[str, HeldSeen], stall: tuple[int, bool]
) -> None:
    record_held(recorder, Scenario.RESTART, held)
    sample = recorder.samples[-1]
    assert (sample.value, sample.censored) == stall


def test_nothing_watched_is_nothing_recorded(recorder: Recorder) -> None:
    record_seen(recorder, Scenario.RESTART, {}, 1)
    record_held(recorder, Scenario.RESTART, {})
    assert recorder.samples == []


def test_a_watch_that_goes_on_has_no_result() -> None:
    with pytest.raises(MeasurementError, match=r"^the watch has not ended$"):
        _ = Watch().result
