"""One comparison of two kube-proxies for every reader: terminal, a pull request's comment, programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from proxybench.ab.experiment import NEW, OLD
from proxybench.gate import markdown, words
from proxybench.gate.outputs import STYLES, as_dict
from proxybench.model import NO_PATH, ClockKind, Position, settings_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from proxybench.gate.outcome import Comparison, Outcome
    from proxybench.model import Key

HEADS = ("Mode", "Services", "Scenario", "Metric", "Old", "New", "Difference", "Interval", "Detects", "Verdict")
_WORDS = {"Mode", "Scenario", "Metric", "Verdict"}
_SCALES = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


def amount(number: float | None, key: Key) -> str:
    """Write a value; by the instruction clock a time is a count of instructions, "12.3 M", lest it is read as time."""
    if number is None or key.unit != "ns" or key.clock is not ClockKind.INSTRUCTIONS:
        return words.value(number, key.unit)
    for limit, prefix in _SCALES:
        if abs(number) >= 0.9995 * limit:  # what rounds to 1,000 of the smaller unit is 1 of this one
            return f"{number / limit:.3g} {prefix}" if abs(number) < 1000 * limit else f"{number / limit:,.0f} {prefix}"
    return f"{number:.0f}"


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
        amount(item.base, key),
        amount(item.new, key),
        words.share(item.relative),
        words.NOTHING if item.low is None else f"{words.share(item.low)} to {words.share(item.high)}",
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
    return f"kube-proxy, {OLD}: {outcome.base}, {NEW}: {outcome.new}, by the {_clock(outcome)}"


def _clock(outcome: Outcome) -> str:
    return "instruction clock" if outcome.clock == ClockKind.INSTRUCTIONS else f"{outcome.clock} clock"


def caption(outcome: Outcome) -> str:
    """Say how the intervals are made, and what the amounts are."""
    notes = [words.intervals(outcome)]
    if outcome.clock == ClockKind.INSTRUCTIONS:
        notes.append("Times are counts of executed instructions (M: million): work, no seconds.")
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
        f"{names}, by the {_clock(outcome)}, in turns in one run",
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
    change = words.NOTHING if item.relative is None else words.share(item.relative)
    interval = "" if item.low is None else f" ({words.share(item.low)} to {words.share(item.high)})"
    found = f"{amount(item.base, item.key)} -> {amount(item.new, item.key)}, {change}{interval}"
    return f"{item.verdict.value}, {found}"


def as_json(outcome: Outcome, run: Path, problems: Sequence[str]) -> dict[str, Any]:
    """Return all numbers, shares unrounded, for programs; "base" and "new" name the two."""
    return {"run": str(run), "problems": list(problems), **as_dict(outcome)}
