from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from proxybench.report.jumps import jumps
from proxybench.report.layout import draw
from proxybench.report.panels import line_panels
from proxybench.report.shapes import JumpMark, LinePanel
from proxybench.report.svg import svg
from proxybench.stats.series import Series
from proxybench.stats.summary import summary_of
from proxybench.testing.model import make_key

SIZES = (200, 400, 800, 1200, 1600, 2000)


def curve(
    *,
    factor: float = 1.0,
    axis: str = "services",
    sizes: tuple[int, ...] = SIZES,
    bounded: bool = False,
    position: str = "none",
    metric: str = "sync.control_loop",
) -> list[Series]:
    """Return a line of six repetitions, 2 % apart, whose values above 1,000 are ``factor`` times as high."""
    random = np.random.default_rng(11)
    made = []
    for size in sizes:
        services, endpoints = (size, 2) if axis == "services" else (1, size)
        key = make_key(
            services=services, endpoints_per_service=endpoints, scenario="add-one", position=position, metric=metric
        )
        level = (20e6 + 30e3 * size) * (factor if size > 1000 else 1)
        values = level * random.normal(1, 0.02, 6)
        labels = tuple(("run", repetition) for repetition in range(6))
        made.append(Series(key, labels, values, np.full(6, bounded), 6, 0, float(values.max()), float(values.max())))
    return made


def test_a_change_of_ways_is_found_where_it_is() -> None:
    (jump,) = jumps(curve(factor=0.5))
    assert (jump.step.after, jump.step.before) == (800, 1200)
    words, size = jump.sentence("iptables (nft)").split("): ")
    assert words == "iptables (nft), the control loop's sync, in instructions (One Service added to N"
    percent, place = size.split(" between ")
    assert place == "800 and 1,200 Services"
    # From 44 to 28 ms, on lines of one slope: 30 and 15 µs per Service do not share one, so the level differs a little.
    assert -0.65 < float(percent.replace("\N{MINUS SIGN}", "-").rstrip(" %")) / 100 < -0.45


def test_a_jump_that_readings_may_explain_is_none() -> None:
    """It is from about 44 to 28 ms."""
    assert len(jumps([replace(each, uncertainty=5e6) for each in curve(factor=0.5)])) == 1
    assert jumps([replace(each, uncertainty=12e6) for each in curve(factor=0.5)]) == ()


def test_endpoints_are_an_axis_too() -> None:
    (jump,) = jumps(curve(factor=2.0, axis="endpoints_per_service", position="last", metric="forwarding.connect"))
    assert jump.axis == "endpoints_per_service"
    assert jump.sentence("iptables").startswith(
        "iptables, instructions to connect (One Service added to N, last rule): +1"
    )
    assert jump.sentence("iptables").endswith(" between 800 and 1,200 endpoints of each Service")


@pytest.mark.parametrize(
    "quiet",
    [
        curve(),
        curve(factor=1.03),
        curve(factor=2.0, sizes=SIZES[1:5]),
        curve(factor=2.0, bounded=True),
        curve(factor=2.0, metric="forwarding.established"),
    ],
    ids=["a line", "less than a tenth", "four sizes", "time-outs", "a metric nobody watches"],
)
def test_other_curves_have_none(quiet: list[Series]) -> None:
    assert jumps(quiet) == ()


@pytest.mark.parametrize("axis", ["services", "endpoints_per_service"])
def test_the_panel_marks_it(axis: str) -> None:
    series = curve(factor=0.5, axis=axis)
    (panel,) = line_panels([summary_of(each) for each in series], "sync time", jumps=jumps(series))
    assert isinstance(panel, LinePanel)
    assert panel.marks == (JumpMark("iptables", 800, 1200),)
    (plain,) = line_panels([summary_of(each) for each in series], "sync time")
    assert plain.marks == ()
    assert (
        svg(draw(panel, [panel])).count("stroke-dasharray") == svg(draw(plain, [plain])).count("stroke-dasharray") + 1
    )
