from __future__ import annotations

from typing import TYPE_CHECKING

from proxybench.model import ClockKind, Metric, Mode, Point, Position, Sample, Scenario
from proxybench.scenarios.recorder import Where
from proxybench.testing.model import make_subject

if TYPE_CHECKING:
    from proxybench.scenarios.recorder import Recorder


def test_a_sample_carries_its_point_node_clock_and_time(recorder: Recorder) -> None:
    where = Where("udp", Position.LAST, 633)
    recorder.add(Metric.SYNC_STALE, Scenario.ADD_ONE, 7, censored=True, uncertainty=3, where=where)
    assert recorder.samples == [
        Sample(
            run="run-1",
            point=Point(make_subject(Mode.IPVS), 100, 2, Scenario.ADD_ONE, "udp", position=Position.LAST),
            repetition=3,
            node="node1",
            metric=Metric.SYNC_STALE,
            value=7,
            unit="ns",
            clock=ClockKind.INSTRUCTIONS,
            censored=True,
            at=1_700_000_000_000_000_000,
            uncertainty=3,
            rank=633,
        )
    ]


def test_without_a_path_a_point_says_so(recorder: Recorder) -> None:
    recorder.add(Metric.MEMORY_CONTROL_LOOP, Scenario.IDLE, 1)
    (sample,) = recorder.samples
    assert (sample.point.path, sample.point.position, sample.unit, sample.censored) == (
        "none",
        Position.NONE,
        "bytes",
        False,
    )


def test_values_stay_in_order_and_become_whole_numbers(recorder: Recorder) -> None:
    recorder.add_all(Metric.CPU_NODE, Scenario.IDLE, iter([3, True, 2]))
    recorder.add_all(Metric.CPU_NODE, Scenario.IDLE, [])
    assert [(sample.value, type(sample.value)) for sample in recorder.samples] == [(3, int), (1, int), (2, int)]
