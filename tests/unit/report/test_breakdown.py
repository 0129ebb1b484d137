from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from proxybench.model import Mode, Subject
from proxybench.report.breakdown import (
    AFTER,
    APPLYING,
    BEFORE,
    BUILD,
    KERNEL,
    MAKING,
    TOOL,
    UNEXPLAINED,
    UNSPLIT,
    WAIT,
    break_down,
    breakdown_panels,
    breakdown_table,
)
from tests.unit.report.made import SUBJECT, series

if TYPE_CHECKING:
    from proxybench.stats.series import Series

GOLDEN = Path(__file__).parents[2] / "golden"
REFERENCE = Subject("reference", "0.1.0", Mode.IPTABLES)


def point(*whole: float, uncertainty: float = 0.0, **parts: tuple[float, ...]) -> list[Series]:
    return [
        series("sync.end_to_end", "add-one", *whole, position="last", path="cluster_ip", uncertainty=uncertainty),
        *(series(f"sync.{name}", "add-one", *values) for name, values in parts.items()),
    ]


def test_the_parts_are_those_of_the_repetition_with_the_median_latency() -> None:
    (found,) = break_down(point(90, 100, 500, before=(1, 40, 3), making=(1, 30, 3), applying=(1, 20, 3)))
    assert found.parts == ((BEFORE, 40), (MAKING, 30), (APPLYING, 20))
    assert (found.whole, found.rest) == (100, 10)
    assert found.stack == ((BEFORE, 40), (MAKING, 30), (APPLYING, 20), (UNEXPLAINED, 10))


def test_what_came_after_the_answer_is_no_part_of_the_latency() -> None:
    (found,) = break_down(point(60, before=(40,), making=(30,), applying=(20,)))
    assert found.rest == -30
    assert found.stack == ((BEFORE, 40), (MAKING, 20), (APPLYING, 0), (AFTER, 30))


def test_a_mode_whose_log_tells_nothing_is_known_by_its_metrics() -> None:
    (found,) = break_down(point(60, before=(40,), control_loop=(15,)))
    assert found.parts == ((BEFORE, 40), (UNSPLIT, 15))


def test_the_references_own_word_is_taken() -> None:
    (found,) = break_down(point(60, wait=(5,), build=(20,), tool=(10,), kernel=(1,)))
    assert found.parts == ((WAIT, 5), (BUILD, 20), (TOOL, 10), (KERNEL, 1))


def test_what_tells_nothing_and_what_timed_out_is_left_out() -> None:
    late = point(60, before=(40,), control_loop=(15,))
    late[0].bounded[:] = True
    assert break_down(late) == []
    assert break_down(point(60, control_loop=(15,))) == []


def test_the_sum_is_checked_against_what_both_are_uncertain_by() -> None:
    made = [
        *point(100, 100, 100, uncertainty=5, before=(96, 90, 50), control_loop=(0, 0, 0)),
        *(
            series(name, "delete-one", value, position=position, subject=REFERENCE, uncertainty=3)
            for name, value, position in (
                ("sync.end_to_end", 20.0, "last"),
                ("sync.before", 18.0, "none"),
                ("sync.control_loop", 1.0, "none"),
            )
        ),
    ]
    table = breakdown_table(break_down(made), "wall clock")
    verdicts = [(row[-1].text, row[-1].detail, row[-1].state) for row in table.rows]
    assert verdicts == [
        ("no: 10 ns unexplained", "in 1 of 3 repetitions", "fail"),
        ("yes", "in 1 of 1 repetition", "pass"),
    ]
    assert [head.text for head in table.heads] == [
        "Scenario",
        "Services",
        "Subject",
        "Until the answer",
        "Before its sync",
        "The sync, not split",
        "Rest",
        "Add up?",
    ]
    assert table.rows[0][3].detail == "± 5 ns"


def test_an_answer_from_before_any_rule_was_applied_does_not_add_up() -> None:
    """Whatever its parts had too much passed as tidying up."""

    def verdict(whole: float) -> tuple[str, str, str]:
        parts = {"before": (40.0,), "making": (30.0,), "applying": (20.0,)}
        cell = breakdown_table(break_down(point(whole, uncertainty=5.0, **parts)), "wall clock").rows[0][-1]
        return cell.text, cell.detail, cell.state

    assert verdict(66) == ("yes", "answered before the sync's end; in 1 of 1 repetition", "pass")
    assert verdict(60) == ("no: 30 ns too much", "in 0 of 1 repetition", "fail")
    assert verdict(94) == ("yes", "in 1 of 1 repetition", "pass")
    assert verdict(96) == ("no: 6 ns unexplained", "in 0 of 1 repetition", "fail")


def test_a_panel_per_scenario_has_a_stack_per_subject_and_the_latency_behind_it() -> None:
    (panel,) = breakdown_panels(break_down(point(60, before=(40,), making=(30,), applying=(20,))))
    assert (panel.title, panel.x_label) == ("One Service added to N", "time until the answer (wall clock)")
    ((size, (bar,)),) = panel.groups
    assert (size, bar.mode, bar.shown, bar.total) == ("100 Services", SUBJECT.mode, 60, 90)


def recorded() -> list[Series]:
    """Return the latencies of a real run, and their parts, each repetition by itself."""
    rows = json.loads((GOLDEN / "latencies-1.37.2.json").read_text())
    return [
        series(
            row["metric"],
            row["scenario"],
            float(row["value"]),
            subject=Subject("kube-proxy", "v1.37.2", Mode(row["mode"])),
            uncertainty=float(row["uncertainty"]),
            services=100 * row["repetition"],  # what stands apart is not pooled
            position="last" if row["metric"] == "sync.end_to_end" else "none",
        )
        for row in rows
    ]


def test_the_parts_of_real_latencies_add_up_to_what_the_probe_saw() -> None:
    """What they lack is within the uncertainty; what they have too much came after the rules were in the kernel."""
    found = break_down(recorded())
    assert len(found) == 27
    assert {each.subject.mode for each in found} == {Mode.IPTABLES, Mode.NFTABLES}
    assert {each.scenario for each in found} >= {"cold-start", "new-service", "add-one", "delete-one"}
    for each in found:
        assert each.rest <= each.uncertainty, each
        assert -each.rest <= dict(each.parts)[APPLYING], each
        assert each.agrees
        assert each.within == each.repetitions


def test_each_repetition_is_as_sure_as_it_is() -> None:
    whole, *parts = point(100, 100, 100, before=(95, 90, 80), control_loop=(0, 0, 0))
    (found,) = break_down([replace(whole, uncertainty=10.0, uncertainties=(5.0, 9.0, 20.0)), *parts])
    assert (found.uncertainty, found.within) == (9.0, 2)
