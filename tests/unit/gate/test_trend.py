from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
import pytest

from proxybench.gate.trend import Trend, _changes, _Found, _lines, limits, plot, trend_table
from proxybench.stats.changes import MIN_SEGMENT, change_points, seen_after
from proxybench.testing.model import make_key

if TYPE_CHECKING:
    from pathlib import Path


def test_two_per_cent_can_be_seen_and_a_thousandth_is_not_blown_up() -> None:
    for values in (np.array([100.0, 102.0]), np.array([100.0, 100.1])):
        low, high = limits(values)
        assert low > 0
        assert (high - low) / 100 == pytest.approx(0.04, rel=0.02)
    low, high = limits(np.array([100.0, 150.0]))
    assert (low, high) == pytest.approx((95, 155))
    assert limits(np.array([0.0, 10.0])) == (0.0, 11.0)
    assert limits(np.zeros(3)) == (0.0, 1.0)


@pytest.mark.parametrize(("runs", "late"), [(9, None), (10, 5), (11, 4), (12, 3), (16, 3), (22, 2), (30, 2)])
def test_a_late_move_is_seen_when_it_is_said_to_be(runs: int, late: int | None) -> None:
    assert seen_after(runs) == late

    def marks(moved: int) -> int:
        wobble = 1 + 1e-4 * np.random.default_rng(runs).normal(size=runs)
        return len(change_points(np.r_[np.full(runs - moved, 100.0), np.full(moved, 105.0)] * wobble))

    if late is None:
        assert not any(marks(moved) for moved in range(MIN_SEGMENT, runs))
        return
    assert marks(late) == 1
    assert marks(late - 1) == 0


def changes_of(values: list[float], unit: str = "ns") -> list[tuple[int, float, float]]:
    found = _changes(np.array(values), (), unit)
    return [(change.index, change.before, change.after) for change in found]


def test_a_number_that_was_once_nothing_is_searched_like_any_other() -> None:
    """An idle loop that begins to burn 50 ms was passed over as soon as one run had read 0."""
    quiet, loud = [0.0, 1e5, 0.0, 2e5, 0.0, 1e5], [5e7, 5.1e7, 4.9e7, 5e7, 5.2e7, 5e7]
    assert changes_of([*quiet, *loud]) == [(6, 5e4, 5e7)]
    assert changes_of([*loud, *quiet]) == [(6, 5e7, 5e4)]
    assert changes_of([0.0] * 6 + loud) == [(6, 0.0, 5e7)]
    assert changes_of([0.0] * 6 + [3.0] * 6, "syncs") == []  # from one to many of them: the least is as good as none
    assert changes_of([0.0, 1.0] * 3 + [30.0, 31.0] * 3, "syncs") == [(6, 0.5, 30.5)]


def test_connections_that_begin_to_fail_are_a_move() -> None:
    assert changes_of([0.0] * 6 + [4_000.0, 5_000.0] * 3, "ppm") == [(6, 0.0, 4_500.0)]
    assert changes_of([0.0] * 6 + [400.0, 500.0] * 3, "ppm") == []


def test_jitter_around_nothing_is_no_move() -> None:
    assert changes_of([0.0] * 6 + [9e5] * 6) == []
    assert changes_of([0.0] * 12) == []


def test_a_move_from_nothing_has_no_share() -> None:
    values = np.array([0.0] * 6 + [5e7] * 6)
    (change,) = _changes(values, (), "ns")
    assert change.relative == np.inf
    runs = tuple(f"run{place}" for place in range(12))
    key = make_key(metric="cpu.control_loop", clock="wall")
    plain = Trend("gate", key, runs, runs, values, (), (change,))
    assert plain.move(change) == "< 1 µs -> 50 ms"
    assert row(plain) == ["12", "< 1 µs", "50 ms", f"run6: < 1 µs -> 50 ms (p {change.p:.2g})"]
    unsure = replace(plain, uncertainties=(2e6,) * 12, bounded=(False,) * 11 + (True,))
    assert row(unsure) == ["12", "≤ 2 ms", "> 50 ms", f"run6: ≤ 2 ms -> 50 ms (p {change.p:.2g})"]


def row(trend: Trend) -> list[str]:
    """Return the cells of its row that hold numbers."""
    return [str(next(iter(column.cells))) for column in trend_table([trend]).columns[2:]]


def point(place: int, version: str, **changes: str) -> _Found:
    return _Found(place, make_key(kind="kube-proxy", version=version, **changes), 1.0)


def test_a_new_version_goes_on_in_the_line_of_the_old_one() -> None:
    found = [point(0, "v1.33.2"), point(1, "v1.37.2")]
    assert _lines(found) == {make_key(kind="kube-proxy", version=""): found}


def test_two_versions_of_one_run_are_two_lines() -> None:
    found = [point(0, "v1.33.2"), point(0, "v1.37.2"), point(1, "v1.37.2")]
    old, new = (make_key(kind="kube-proxy", version=version) for version in ("v1.33.2", "v1.37.2"))
    assert _lines(found) == {old: found[:1], new: found[1:]}
    assert _lines(found[1:]) == {new: found[1:]}


def test_a_users_matplotlib_settings_do_not_reach_a_plot(tmp_path: Path) -> None:
    trend = Trend("gate", make_key(), ("a", "b"), ("1", "2"), np.array([1e6, 2e6]), (1,), ())
    plot(trend, tmp_path / "plain.png")
    with mpl.rc_context({"axes.facecolor": "red", "font.size": 30, "text.usetex": True}):
        plot(trend, tmp_path / "theirs.png")
    assert (tmp_path / "theirs.png").read_bytes() == (tmp_path / "plain.png").read_bytes()
