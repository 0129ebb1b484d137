"""Samples as short rows, for comparison."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proxybench.scenarios.recorder import Recorder

Row = tuple[str, str, str, str, int, str, bool]


def rows(recorder: Recorder) -> list[Row]:
    """Return (metric, scenario, path, position, value, unit, censored) of each sample, in order."""
    return [
        (
            str(sample.metric),
            str(sample.point.scenario),
            sample.point.path,
            str(sample.point.position),
            sample.value,
            sample.unit,
            sample.censored,
        )
        for sample in recorder.samples
    ]
