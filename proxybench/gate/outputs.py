"""One outcome for every reader: terminal, JSON, Markdown, annotations, JUnit and two dashboards."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import orjson
from junitparser import Failure, JUnitXml, Skipped, TestCase, TestSuite
from rich.markup import escape
from rich.table import Table

from proxybench.gate import words
from proxybench.gate.compare import Comparison, Outcome, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from proxybench.gate.side import Side
    from proxybench.stats.series import SeriesKey

SUMMARY_LIMIT = 1_048_576  # bytes of one GitHub step summary; more is refused as a whole
ANNOTATIONS = 10  # GitHub shows ten errors and ten warnings per step
_STYLES = {
    Verdict.REGRESSED: "bold red",
    Verdict.NOT_COMPARABLE: "magenta",
    Verdict.INCONCLUSIVE: "yellow",
    Verdict.IMPROVED: "green",
    Verdict.SAME: "dim",
}
_PRETTY = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS


def terminal_table(outcome: Outcome, *, everything: bool = False) -> Table:
    """Return the comparisons as a table; those that are the same or not judged only when ``everything``."""
    table = Table(title=escape(f"{outcome.base} -> {outcome.new}"))
    for name in words.COLUMNS:
        table.add_column(name, overflow="fold")
    for item in outcome.comparisons:
        if everything or (item.judged and item.verdict is not Verdict.SAME):
            table.add_row(*map(escape, words.cells(item)), style=_STYLES[item.verdict])
    return table


def to_json(outcomes: Sequence[Outcome]) -> bytes:
    """Return all numbers, shares unrounded, for programs."""
    return orjson.dumps([_outcome(outcome) for outcome in outcomes], option=_PRETTY) + b"\n"


def _outcome(outcome: Outcome) -> dict[str, Any]:
    return {
        "base": outcome.base,
        "new": outcome.new,
        "clock": outcome.clock,
        "threshold": outcome.threshold,
        "differing": list(outcome.differing),
        "undecided": list(outcome.undecided_metrics()),
        "exit_code": int(outcome.exit_code),
        "sentence": outcome.sentence(),
        "counts": {verdict.value: count for verdict, count in outcome.counts().items()},
        "comparisons": [
            {**asdict(item.key), **{k: v for k, v in asdict(item).items() if k != "key"}}
            for item in outcome.comparisons
        ],
    }


def to_markdown(outcomes: Iterable[Outcome], limit: int = SUMMARY_LIMIT) -> str:
    """Return a page for a step summary or a pull request's comment, at most ``limit`` bytes of UTF-8.

    Rows are worst first, so what does not fit is the least important; how many are left out is said.
    """
    blocks = []
    for outcome in outcomes:
        blocks.append(f"### proxybench: {_md(outcome.sentence())}\n\n")
        blocks.append(f"`{_md(outcome.base)}` → `{_md(outcome.new)}`, {outcome.clock} clock\n\n")
        blocks.append("| " + " | ".join(words.COLUMNS) + " |\n" + "| --- " * len(words.COLUMNS) + "|\n")
        blocks += ["| " + " | ".join(map(_md, words.cells(item))) + " |\n" for item in outcome.comparisons]
        blocks.append("\n")
    sizes = [len(block.encode()) for block in blocks]
    if sum(sizes) <= limit:
        return "".join(blocks)
    note = "\n{} more rows do not fit here; the JSON output has all of them.\n"
    room = limit - len(note.format(len(blocks)).encode())
    kept = 0
    while kept < len(blocks) and sizes[kept] <= room:
        room -= sizes[kept]
        kept += 1
    left_out = sum(block.startswith("| ") for block in blocks[kept:])
    return "".join(blocks[:kept]) + note.format(left_out)


def _md(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("\n", " ").replace("`", "'")


def to_annotations(outcomes: Iterable[Outcome]) -> list[str]:
    """Return GitHub workflow commands: the worst regressions as errors, the first undecided as warnings."""
    judged = [item for outcome in outcomes for item in outcome.comparisons if item.judged]
    judged.sort(key=lambda item: -(item.relative or 0.0))
    worst = [item for item in judged if item.verdict is Verdict.REGRESSED][:ANNOTATIONS]
    open_ones = [item for item in judged if item.verdict in (Verdict.INCONCLUSIVE, Verdict.NOT_COMPARABLE)]
    errors = [f"::error title=proxybench regression::{_command(words.line(item))}" for item in worst]
    warnings = [f"::warning title=proxybench undecided::{_command(words.line(item))}" for item in open_ones]
    return errors + warnings[:ANNOTATIONS]


def _command(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def to_junit(outcomes: Iterable[Outcome]) -> bytes:
    """Return JUnit XML: one suite per pair, one case per judged comparison.

    A regression is a failure; what could not be decided is skipped, with the reason.
    """
    document = JUnitXml("proxybench")
    for outcome in outcomes:
        suite = TestSuite(f"{outcome.base} -> {outcome.new}")
        suite.add_testcases([_case(item) for item in outcome.comparisons if item.judged])
        document.add_testsuite(suite)
    text = document.tostring()
    return text if isinstance(text, bytes) else str(text).encode()


def _case(item: Comparison) -> TestCase:
    case = TestCase(item.key.place(), classname=item.key.metric)
    if item.verdict is Verdict.REGRESSED:
        case.result = [Failure(words.line(item), "regression")]
    elif item.verdict in (Verdict.INCONCLUSIVE, Verdict.NOT_COMPARABLE):
        case.result = [Skipped(words.line(item))]
    return case


def to_benchmark_action(side: Side) -> bytes:
    """Return a run for github-action-benchmark, tool ``customSmallerIsBetter``."""
    entries = [
        {
            "name": key.label(),
            "unit": key.unit,
            "value": level[0],
            "range": f"{level[1]:.6g} to {level[2]:.6g}",
            "extra": f"{level[3]} repetitions, {key.clock} clock",
        }
        for key, level in _levels(side)
    ]
    return orjson.dumps(entries, option=_PRETTY) + b"\n"


def to_bencher(side: Side) -> bytes:
    """Return a run in Bencher Metric Format: benchmark, measure, value with lower and upper value."""
    tree: dict[str, dict[str, dict[str, float]]] = {}
    for key, level in _levels(side):
        measure = {"value": level[0], "lower_value": level[1], "upper_value": level[2]}
        tree.setdefault(key.place(), {})[f"{key.metric} ({key.unit}, {key.clock})"] = measure
    return orjson.dumps(tree, option=_PRETTY) + b"\n"


def _levels(side: Side) -> list[tuple[SeriesKey, tuple[float, float, float, int]]]:
    """Return each series' median, least and greatest repetition, and how many there are."""
    levels = []
    for key in sorted(side.series):
        ordered = sorted(float(value) for value in side.series[key].values)
        count = len(ordered)
        middle = (ordered[(count - 1) // 2] + ordered[count // 2]) / 2
        levels.append((key, (middle, ordered[0], ordered[-1], count)))
    return levels
