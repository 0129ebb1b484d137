"""What can be asked of the registry of metrics, by name: of an older or newer program's run, too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxybench.metrics import Metric
from proxybench.units import INSTRUCTIONS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxybench.about import About


def find(name: str) -> About | None:
    """Return what a metric is, None for one that this program does not know (of a newer one's run)."""
    return _ABOUT.get(name)


def may_judge(name: str, clock: str) -> bool:
    """Tell whether a gate may decide by a metric that was read by a clock ("wall", "instructions")."""
    about = find(name)
    return about is not None and about.judged and (about.busy or clock != INSTRUCTIONS)


def methods() -> Mapping[str, int]:
    """Return the version of each metric's method, for the fingerprint of a run."""
    return {str(metric): metric.about.method for metric in Metric}


def table() -> str:
    """Return the table of docs/measurements.md, in Markdown."""
    rows = ["| metric | unit | from | to | judged | remarks |", "| --- | --- | --- | --- | --- | --- |"]
    for metric in Metric:
        about = metric.about
        judged = "never" if not about.judged else "both clocks" if about.busy else "wall clock"
        rows.append(f"| `{metric}` | {about.unit} | {about.start} | {about.end} | {judged} | {about.remarks} |")
    return "\n".join(rows) + "\n"


_ABOUT = {str(metric): metric.about for metric in Metric}
