"""One outcome for every reader: terminal, JSON, Markdown, annotations, JUnit and two dashboards."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import orjson
from junitparser import Error, Failure, JUnitXml, Skipped, TestCase, TestSuite
from rich.markup import escape
from rich.table import Table

from proxybench.columns import flat
from proxybench.gate import markdown, words
from proxybench.gate.outcome import FAMILY_ALPHA, Comparison, Outcome, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from proxybench.gate.side import Side
    from proxybench.model import Key

SUMMARY_LIMIT = 1_048_576  # bytes of one GitHub step summary; more is refused as a whole
ANNOTATIONS = 10  # GitHub shows ten errors and ten warnings per step
STYLES = {
    Verdict.REGRESSED: "bold red",
    Verdict.NOT_COMPARABLE: "magenta",
    Verdict.INCONCLUSIVE: "yellow",
    Verdict.IMPROVED: "green",
    Verdict.SAME: "dim",
}
_PRETTY = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS


def terminal_table(outcome: Outcome, *, everything: bool = False) -> Table:
    """Return the comparisons as a table; those that are the same or not judged only when ``everything``."""
    table = Table(title=escape(f"{outcome.base} -> {outcome.new}"), caption=words.intervals(outcome))
    for name in words.columns(outcome):
        table.add_column(name, overflow="fold")
    for item in outcome.comparisons:
        if everything or (item.judged and item.verdict is not Verdict.SAME):
            table.add_row(*map(escape, words.cells(item)), style=STYLES[item.verdict])
    return table


def to_json(outcomes: Sequence[Outcome]) -> bytes:
    """Return all numbers, shares unrounded, for programs."""
    return orjson.dumps([as_dict(outcome) for outcome in outcomes], option=_PRETTY) + b"\n"


def as_dict(outcome: Outcome) -> dict[str, Any]:
    """Return plain words and numbers of one outcome, shares unrounded."""
    return {
        "base": outcome.base,
        "new": outcome.new,
        "clock": outcome.clock,
        "threshold": outcome.threshold,
        "runs": list(outcome.runs),
        "assumed_noise": outcome.assumed_noise,
        "family": outcome.family,
        "family_confidence": 1 - FAMILY_ALPHA,
        "differing": list(outcome.differing),
        "incomplete": list(outcome.incomplete),
        "undecided": list(outcome.undecided_metrics()),
        "exit_code": int(outcome.exit_code),
        "sentence": outcome.sentence(),
        "counts": {verdict.value: count for verdict, count in outcome.counts().items()},
        "comparisons": [
            {**flat(item.key), **{k: v for k, v in asdict(item).items() if k != "key"}} for item in outcome.comparisons
        ],
    }


def to_markdown(outcomes: Iterable[Outcome], limit: int = SUMMARY_LIMIT) -> str:
    """Return a page for a step summary or a pull request's comment, at most ``limit`` bytes of UTF-8.

    Rows are worst first, so what does not fit is the least important; how many are left out is said.
    """
    blocks = []
    for outcome in outcomes:
        heads = [markdown.text(name) for name in words.columns(outcome)]
        blocks.append(f"### proxybench: {markdown.text(outcome.sentence())}\n\n")
        sides = f"{markdown.code(outcome.base)} → {markdown.code(outcome.new)}"
        blocks.append(f"{sides}, by the {words.clock_name(outcome.clock)}\n\n")
        blocks.append("| " + " | ".join(heads) + " |\n" + "| --- " * len(heads) + "|\n")
        blocks += ["| " + " | ".join(map(markdown.text, words.cells(item))) + " |\n" for item in outcome.comparisons]
        blocks.append(f"\n{markdown.text(words.intervals(outcome))}\n\n")
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


def to_annotations(outcomes: Iterable[Outcome]) -> list[str]:
    """Return GitHub workflow commands: the worst regressions as errors, the first undecided as warnings.

    Two sides that cannot be compared are one warning, not one for each number.
    """
    sides: list[tuple[str, str]] = []
    judged: list[Comparison] = []
    for outcome in outcomes:
        sides += [("incomplete", lack) for lack in outcome.incomplete]
        if outcome.differing:
            sides.append(("not comparable", f"{outcome.base} -> {outcome.new}: {outcome.sentence()}"))
        else:
            judged += [item for item in outcome.comparisons if item.judged]
    judged.sort(key=lambda item: -item.weight)
    worst = [words.line(item) for item in judged if item.verdict is Verdict.REGRESSED]
    undecided = [words.line(item) for item in judged if item.verdict in (Verdict.INCONCLUSIVE, Verdict.NOT_COMPARABLE)]
    warnings = sides + [("undecided", text) for text in undecided]
    return [f"::error title=proxybench regression::{_command(text)}" for text in worst[:ANNOTATIONS]] + [
        f"::warning title=proxybench {title}::{_command(text)}" for title, text in warnings[:ANNOTATIONS]
    ]


def _command(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def to_junit(outcomes: Iterable[Outcome]) -> bytes:
    """Return JUnit XML: one suite per pair, one case per judged comparison.

    A regression is a failure; what was too noisy is skipped, with the reason. What cannot be compared is an error:
    a page of skipped cases would be shown as green. Where that concerns a whole pair, its one case names the fields.
    """
    document = JUnitXml("proxybench")
    for outcome in outcomes:
        suite = TestSuite(f"{outcome.base} -> {outcome.new}")
        suite.add_testcases([_lacking(lack) for lack in outcome.incomplete])
        suite.add_testcases(
            [_unlike(outcome)] if outcome.differing else [_case(item) for item in outcome.comparisons if item.judged]
        )
        document.add_testsuite(suite)
    text = document.tostring()
    return text if isinstance(text, bytes) else str(text).encode()


def _case(item: Comparison) -> TestCase:
    case = TestCase(item.key.place(), classname=item.key.metric)
    if item.verdict is Verdict.REGRESSED:
        case.result = [Failure(words.line(item), "regression")]
    elif item.verdict is Verdict.NOT_COMPARABLE:
        case.result = [Error(words.line(item), "not-comparable")]
    elif item.verdict is Verdict.INCONCLUSIVE:
        case.result = [Skipped(words.line(item))]
    return case


def _lacking(lack: str) -> TestCase:
    case = TestCase(lack, classname="complete")
    case.result = [Error(lack, "incomplete")]
    return case


def _unlike(outcome: Outcome) -> TestCase:
    case = TestCase("fingerprint and settings", classname="comparable")
    case.result = [Error(outcome.sentence(), "not-comparable")]
    return case


def to_benchmark_action(side: Side) -> bytes:
    """Return a run for github-action-benchmark, tool ``customSmallerIsBetter``."""
    entries = [
        {
            "name": key.label(),
            "unit": key.shown_unit,
            "value": level[0],
            "range": f"{level[1]:.6g} to {level[2]:.6g}",
            "extra": f"{level[3]} repetitions, {words.clock_name(key.clock)}",
        }
        for key, level in _levels(side)
    ]
    return orjson.dumps(entries, option=_PRETTY) + b"\n"


def to_bencher(side: Side) -> bytes:
    """Return a run in Bencher Metric Format: benchmark, measure, value with lower and upper value."""
    tree: dict[str, dict[str, dict[str, float]]] = {}
    for key, level in _levels(side):
        measure = {"value": level[0], "lower_value": level[1], "upper_value": level[2]}
        tree.setdefault(key.place(), {})[f"{key.metric} ({key.shown_unit}, {key.clock})"] = measure
    return orjson.dumps(tree, option=_PRETTY) + b"\n"


def _levels(side: Side) -> list[tuple[Key, tuple[float, float, float, int]]]:
    """Return each series' median, least and greatest repetition, and how many there are."""
    levels = []
    for key in sorted(side.series):
        ordered = sorted(float(value) for value in side.series[key].values)
        count = len(ordered)
        middle = (ordered[(count - 1) // 2] + ordered[count // 2]) / 2
        levels.append((key, (middle, ordered[0], ordered[-1], count)))
    return levels
