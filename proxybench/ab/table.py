"""One comparison of two kube-proxies for every reader: terminal, a pull request's comment, programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from proxybench.ab.experiment import NEW, OLD
from proxybench.gate import markdown, words
from proxybench.gate.outputs import STYLES, as_dict
from proxybench.model import NO_PATH, Position, settings_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from proxybench.gate.outcome import Comparison, Outcome

HEADS = ("Mode", "Services", "Scenario", "Metric", "Old", "New", "Difference", "Interval", "Detects", "Verdict")
_WORDS = {"Mode", "Scenario", "Metric", "Verdict"}


def cells(item: Comparison) -> tuple[str, ...]:
    """Return one row, in the order of ``HEADS``."""
    key = item.key
    settings = settings_text(key.subject.settings)
    where = (key.scenario, *((key.path,) if key.path != NO_PATH else ()))
    position = () if key.position is Position.NONE else (key.position,)
    verdict = item.verdict.value if item.judged else f"({item.verdict.value})"
    return (
        f"{key.mode} ({settings})" if settings else str(key.mode),
        str(key.services),
        " ".join((*where, *position)),
        key.metric,
        words.base_value(item, noun=False),
        words.new_value(item, noun=False),
        words.share(item.relative),
        words.interval(item) or words.NOTHING,
        words.NOTHING if item.detectable is None else f"{100 * item.detectable:.2f} %",
        f"{verdict}: {item.reason}" if item.reason else verdict,
    )


def rows(outcome: Outcome, *, everything: bool = False) -> list[Comparison]:
    """Return what is shown, worst first: what is judged, and with ``everything`` the rest as well."""
    return [item for item in outcome.comparisons if item.judged or everything]


def terminal_table(outcome: Outcome, *, everything: bool = False) -> Table:
    """Return the table for people."""
    table = Table(title=escape(title(outcome)), caption=escape(caption(outcome)))
    for name in HEADS:
        table.add_column(name, overflow="fold", justify="left" if name in _WORDS else "right")
    for item in rows(outcome, everything=everything):
        table.add_row(*map(escape, cells(item)), style=STYLES[item.verdict])
    return table


def title(outcome: Outcome) -> str:
    """Name both, and the clock."""
    return f"kube-proxy, {OLD}: {outcome.base}, {NEW}: {outcome.new}, by the {words.clock_name(outcome.clock)}"


def caption(outcome: Outcome) -> str:
    """Say how the intervals are made, and what the amounts are."""
    notes = [words.intervals(outcome)]
    left_out = sum(not item.judged for item in outcome.comparisons)
    if left_out:
        notes.append(f"Measured, but not judged: {left_out} more.")
    return " ".join(notes)


def to_markdown(outcome: Outcome, problems: Sequence[str]) -> str:
    """Return the comment for a pull request: the outcome, one table, how to read it, what is missing."""
    names = f"{markdown.code(outcome.base)} → {markdown.code(outcome.new)}"
    lines = [
        f"### proxybench ab: {markdown.text(outcome.sentence())}",
        "",
        f"{names}, by the {words.clock_name(outcome.clock)}, in turns in one run",
        "",
        "| " + " | ".join(HEADS) + " |",
        "| " + " | ".join("---" if name in _WORDS else "---:" for name in HEADS) + " |",
        *("| " + " | ".join(map(markdown.text, cells(item))) + " |" for item in rows(outcome)),
        "",
        markdown.text(caption(outcome)),
        *(f"\n- not measured: {markdown.text(problem)}" for problem in problems),
    ]
    return "\n".join(lines) + "\n"


def line(item: Comparison) -> str:
    """Say one comparison in a line, without its place."""
    if item.base is None or item.new is None:
        return f"{item.verdict.value}: {item.reason}"
    interval = words.interval(item)
    change = f"{words.share(item.relative)} ({interval})" if interval else words.share(item.relative)
    return f"{item.verdict.value}, {words.base_value(item)} -> {words.new_value(item)}, {change}"


def as_json(outcome: Outcome, run: Path, problems: Sequence[str]) -> dict[str, Any]:
    """Return all numbers, shares unrounded, for programs; "base" and "new" name the two."""
    return {"run": str(run), "problems": list(problems), **as_dict(outcome)}
