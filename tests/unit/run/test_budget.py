from __future__ import annotations

from dataclasses import replace

from proxybench.model import Cell, Mode, Subject
from proxybench.run.budget import Budget

NFTABLES = Subject("kube-proxy", "v1.37.2", Mode.NFTABLES)
CELL = Cell(NFTABLES, 1_000, 2)


def test_a_size_that_was_too_large_and_larger_ones_are_not_tried() -> None:
    budget = Budget()
    budget.was_late(CELL)
    why = "skipped: it was not ready in time at 1000 Services"
    assert [budget.why_skip(replace(CELL, services=size)) for size in (999, 1_000, 10_000)] == ["", why, why]


def test_the_smallest_late_size_counts() -> None:
    budget = Budget()
    budget.was_late(replace(CELL, services=5_000))
    budget.was_late(CELL)
    budget.was_late(replace(CELL, services=10_000))
    assert budget.why_skip(CELL) != ""


def test_another_subject_is_tried() -> None:
    budget = Budget()
    budget.was_late(CELL)
    assert budget.why_skip(replace(CELL, subject=replace(NFTABLES, mode=Mode.IPTABLES))) == ""
