from __future__ import annotations

from dataclasses import replace

from proxybench.model import Cell, Mode, Subject
from proxybench.report.missing import missing_lines, missing_table, noted_lines
from proxybench.results.manifest import NotMeasured, Step, manifest_from_dict
from tests.unit.report.synthetic import synthetic_manifest

IPVS = Subject("kube-proxy", "v1.37.2", Mode.IPVS)
EMPTY = replace(manifest_from_dict(synthetic_manifest(), "synthetic"), matrix=(), not_measured=())
LEFT = "left on node1, and removed: iptables-legacy nat: 9 chains and 1 more, see logs/001-a-left.log"
NO_MODULE = "it cannot run: no module"


def step(services: int, repetition: int, problem: str | None, state: str = "skipped") -> Step:
    return Step(services, repetition, Cell(IPVS, services, 2), state, 1.0, problem)  # type: ignore[arg-type] # a state


def test_a_reason_stands_once_with_all_its_places() -> None:
    steps = tuple(step(services, turn, NO_MODULE) for turn in (1, 2) for services in (10, 100, 1_000))
    told = tuple(
        NotMeasured(Mode.IPVS, each.cell.services, f"kube-proxy v1.37.2, repetition {each.repetition}: {NO_MODULE}")
        for each in steps
    )
    assert missing_lines(replace(EMPTY, matrix=steps, not_measured=told)) == [
        "kube-proxy v1.37.2 ipvs at 10, 100 and 1,000 Services, repetitions 1 and 2: it cannot run: no module"
    ]


def test_a_table_has_what_where_and_why() -> None:
    gone = NotMeasured(Mode.USERSPACE, None, "it cannot be had")
    table = missing_table(replace(EMPTY, matrix=(step(10, 1, NO_MODULE),), not_measured=(gone,)))
    assert table is not None
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["userspace", "at no size", "it cannot be had"],
        ["kube-proxy v1.37.2 ipvs", "at 10 Services, repetition 1", NO_MODULE],
    ]
    assert missing_table(EMPTY) is None


def test_what_was_never_tried_stands_first() -> None:
    gone = NotMeasured(Mode.USERSPACE, None, "kube-proxy v1.25.16: it cannot be had")
    assert missing_lines(replace(EMPTY, matrix=(step(10, 1, NO_MODULE),), not_measured=(gone,))) == [
        "userspace: kube-proxy v1.25.16: it cannot be had",
        "kube-proxy v1.37.2 ipvs at 10 Services, repetition 1: it cannot run: no module",
    ]


def test_a_late_step_is_done_and_yet_named() -> None:
    late = step(10_000, 1, "cold start: still at work after 150 s", state="done")
    assert missing_lines(replace(EMPTY, matrix=(late,))) == [
        "kube-proxy v1.37.2 ipvs at 10,000 Services, repetition 1: cold start: still at work after 150 s"
    ]


def test_what_was_measured_is_not_missing() -> None:
    assert missing_lines(replace(EMPTY, matrix=(step(10, 1, None, state="done"),))) == []


def test_a_failure_without_a_word_is_named_all_the_same() -> None:
    assert missing_lines(replace(EMPTY, matrix=(step(10, 1, None, state="failed"),))) == [
        "kube-proxy v1.37.2 ipvs at 10 Services, repetition 1: no reason given"
    ]


def noted(services: int, repetition: int, *notes: str) -> Step:
    return replace(step(services, repetition, None, state="done"), notes=notes)


def test_a_note_stands_once_whatever_its_numbers() -> None:
    steps = (
        noted(10, 1, LEFT),
        noted(1_000, 1, "positions are the order of creation: no ranks"),
        noted(1_000, 2, "left on node1, and removed: iptables-legacy nat: 1,009 chains", "positions are unknown"),
    )
    assert noted_lines(replace(EMPTY, matrix=steps)) == [
        f"kube-proxy v1.37.2 ipvs at 10 and 1,000 Services, repetitions 1 and 2: {LEFT} (the first of several)",
        "kube-proxy v1.37.2 ipvs at 1,000 Services, repetition 1: positions are the order of creation: no ranks",
        "kube-proxy v1.37.2 ipvs at 1,000 Services, repetition 2: positions are unknown",
    ]
    assert missing_lines(replace(EMPTY, matrix=steps)) == []
