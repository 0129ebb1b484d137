"""The order in which a run walked its matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxybench.report.tables import Cell, Table
from proxybench.report.words import DASH, look, mode_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxybench.results.manifest import Step

MOST = 200
"""Of more steps than so many, only those that did not end well are told; the manifest has them all."""


def steps_table(steps: Sequence[Step]) -> Table:
    """Return one row per step."""
    shown = [step for step in steps if len(steps) <= MOST or step.state != "done" or step.problem]
    left = len(steps) - len(shown)
    more = f"; {left:,} that are done are left out, manifest.json has them" if left else ""
    heads = (
        *(Cell(head, number=True) for head in ("Step", "Repetition")),
        *(Cell("Mode"), Cell("Subject")),
        *(Cell(head, number=True) for head in ("Services", "Endpoints", "Seconds")),
        Cell("State"),
    )
    caption = f"Steps in the order in which they were taken (seconds by the orchestrator's clock{more})"
    return Table(caption, heads, tuple(_row(step) for step in shown))


def _row(step: Step) -> tuple[Cell, ...]:
    cell = step.cell
    return (
        Cell(str(step.index), number=True),
        Cell(str(step.repetition), number=True),
        Cell(mode_name(cell.mode), mode=look(cell.subject)),
        Cell(cell.subject.program, f"{step.clock} clock" if step.clock else ""),
        Cell(f"{cell.services:,}", sort=str(cell.services), number=True),
        Cell(f"{cell.endpoints_per_service:,}", sort=str(cell.endpoints_per_service), number=True),
        Cell(DASH if step.seconds is None else f"{step.seconds:.1f}", number=True),
        Cell(step.state, step.problem or "", state="fail" if step.state == "failed" else ""),
    )
