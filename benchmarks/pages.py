"""Writes the tables of docs/findings.md, docs/calibration.md and README.md from results/findings/*.json.

``python -m benchmarks.pages [RUN …]``: condenses these runs into results/findings first, each in place of the one
of its name, then writes every table anew. ``make findings RUNS="results/native/latest …"`` does so.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.calibration import KINDS, calibration
from benchmarks.condensed import FOLDER, HOME, condense, load, names_of, save
from proxybench.report.criteria import FEW
from proxybench.report.words import DASH, REFERENCE
from proxybench.units import INSTRUCTIONS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from benchmarks.condensed import Condensed, Number, Size
    from proxybench.model import Subject

CALIBRATE = "calibrate"
NATIVE = "native"
TIME_ROWS = (
    ("cold start, until all probed Services answer", "sync.end_to_end", "cold-start"),
    ("cold start, CPU of kube-proxy and its tools", "cpu.control_loop", "cold-start"),
    ("a new Service, then its endpoints", "sync.end_to_end", "new-service"),
    ("one Service added, its endpoints there before", "sync.end_to_end", "add-one"),
    ("one Service added, CPU", "cpu.control_loop", "add-one"),
    ("one Service deleted, until refused", "sync.end_to_end", "delete-one"),
    ("largest resident set", "memory.resident", "cold-start"),
    ("new connection to the last rule, connect()", "forwarding.connect", "steady"),
    ("new connection straight to an endpoint, connect()", "forwarding.direct", "steady"),
    ("new connection before there are rules, connect()", "forwarding.bare", "steady"),
)
WORK_ROWS = tuple(row for row in TIME_ROWS if not row[1].startswith("sync."))
"""What is work by the instruction clock: what of a sync is told by its beginning and end holds waits as well."""
_README_ROWS = tuple(TIME_ROWS[index] for index in (0, 2, 4, 7, 8, 6))
_README_SIZES = (100, 1_000, 10_000)
_POSITIONS = ("last", "first", "none")


def main(runs: Sequence[str]) -> None:
    """Condense these runs, then write the pages."""
    for run in runs:
        found = condense(Path(run), shown)
        print(f"{save(found)}: run {found.run}, {len(found.numbers)} numbers, {found.state}")
    for path, text in pages(committed()).items():
        path.write_text(text, "utf-8")
        print(path)


def shown(name: str) -> set[tuple[str, str]]:
    """Return what is shown of a run of that name."""
    if name == CALIBRATE:
        return {(metric, kind.scenario) for kind in KINDS for metric in (kind.metric, kind.less) if metric}
    return {(metric, scenario) for _, metric, scenario in TIME_ROWS}


def committed() -> dict[str, Condensed]:
    """Return what is committed, by the name of its experiment."""
    return {path.stem: load(path) for path in sorted(FOLDER.glob("*.json"))}


def pages(found: Mapping[str, Condensed]) -> dict[Path, str]:
    """Return each page's file with its text as it should be, as far as there are runs for its tables."""
    texts = {HOME / "docs/findings.md": {"findings": findings(found)}}
    if NATIVE in found:
        texts[HOME / "README.md"] = {"findings": readme(found[NATIVE])}
    if CALIBRATE in found:
        texts[HOME / "docs/calibration.md"] = {"calibration": calibration(found[CALIBRATE])}
    return {path: _filled(path.read_text("utf-8"), parts) for path, parts in texts.items()}


def findings(found: Mapping[str, Condensed]) -> str:
    """Return a section for each run and clock: real time first."""
    runs = [run for name, run in found.items() if name != CALIBRATE]
    parts = [(clock, run) for run in runs for clock in run.clocks]
    parts.sort(key=lambda part: (part[0] != "wall", part[1].name))
    return "\n\n".join(_section(run, clock) for clock, run in parts)


def readme(run: Condensed) -> str:
    """Return the table of the front page, with where it is from."""
    numbers = [number for number in run.by("wall") if number.size[0] in _README_SIZES]
    return f"{_origin(run, 'wall')}\n\n{_table(numbers, _README_ROWS, names_of(numbers))}\n\n" + "\n".join(
        standing_out(run.by("wall"))
    )


def _section(run: Condensed, clock: str) -> str:
    numbers = run.by(clock)
    what = "time" if clock == "wall" else "work, in counted instructions"
    versions = sorted({number.subject.version for number in numbers if number.subject.kind != REFERENCE})
    told = clock == "wall" and len(versions) == 1  # of many, sentences say nothing that the tables do not
    lacks = [f"- {line}" for line in run.missing]
    missing = ["Not measured, or not to its end:", "", *lacks] if lacks else ["Nothing was left out."]
    return "\n".join(
        [
            f"### kube-proxy {', '.join(versions)} on Linux {_lab(run, clock).rpartition('Linux ')[2]}: {what}",
            "",
            f"{run.description} {_origin(run, clock)}",
            "",
            _tables(numbers, TIME_ROWS if clock == "wall" else WORK_ROWS),
            "",
            *([*standing_out(numbers), ""] if told else ()),
            *missing,
            "",
            f"Made again by `{run.command}` (run {run.run}, proxybench {run.proxybench}).",
        ]
    )


def standing_out(numbers: Sequence[Number]) -> list[str]:
    """Say what stands out at the largest size, in sentences; what was not measured is left out of them."""
    size = max(number.size for number in numbers)
    told = (
        ("a cold start", "sync.end_to_end", "cold-start"),
        ("the CPU of one added Service", "cpu.control_loop", "add-one"),
        ("a new connection through the last rule", "forwarding.connect", "steady"),
        ("a new connection straight to a pod, which asks for no Service", "forwarding.direct", "steady"),
        ("the same before there were any rules", "forwarding.bare", "steady"),
    )
    names = names_of(list(numbers))
    lines = [f"At {size[0]:,} Services:", ""]
    for title, metric, scenario in told:
        found = _at(numbers, size, metric, scenario)
        if found:
            values = [f"{found[one].text()} ({names[one]})" for one in names if one in found]
            lines.append(f"- {title}: {', '.join(values)}")
    return lines


def _origin(run: Condensed, clock: str) -> str:
    repetitions = sorted({number.repetitions for number in run.by(clock)})
    few = ", so small differences are not to be read from it" if repetitions[0] < FEW else ""
    most = " to ".join(map(str, dict.fromkeys((repetitions[0], repetitions[-1]))))
    times = "one repetition" if most == "1" else f"medians of {most} repetitions"
    endpoints = ", ".join(map(str, sorted({number.size[1] for number in run.by(clock)})))
    return f"By the {_lab(run, clock)}; {run.machine}; {run.created}; {endpoints} endpoints per Service, {times}{few}."


def _lab(run: Condensed, clock: str) -> str:
    """Return the words for where the numbers by a clock were measured; they end with the kernel."""
    return next(lab for lab in run.labs if lab.startswith(clock[:4]))


def _tables(numbers: Sequence[Number], rows: Sequence[tuple[str, str, str]]) -> str:
    """Return one table, or of modes in several releases one for each mode and backend, the releases side by side."""
    names = names_of(list(numbers))
    tables: dict[object, dict[Subject, str]] = {}
    for subject in sorted(names, key=lambda subject: subject.version):
        tables.setdefault((subject.mode, subject.settings), {})[subject] = names[subject]
    if all(len(alike) == 1 for alike in tables.values()):
        return _table(numbers, rows, names)
    return "\n\n".join(_table(numbers, rows, alike) for alike in tables.values())


def _table(numbers: Sequence[Number], rows: Iterable[tuple[str, str, str]], names: Mapping[Subject, str]) -> str:
    """Return a table with a column for each of ``names``."""
    lines = [_line("Services", "", *names.values()), _line("---:", "---", *["---:"] * len(names))]
    for size in sorted({number.size for number in numbers}):
        first = f"{size[0]:,}"
        for title, metric, scenario in rows:
            here = _at(numbers, size, metric, scenario)
            if here.keys() & names.keys():
                counted = {number.shown_unit for number in here.values()} == {INSTRUCTIONS}
                head = f"{title}, {INSTRUCTIONS}" if counted else title
                lines.append(_line(first, head, *(here[one].text() if one in here else DASH for one in names)))
                first = ""
    return "\n".join(lines)


def _at(numbers: Iterable[Number], size: Size, metric: str, scenario: str) -> dict[Subject, Number]:
    """Return the numbers of a row by subject, all at the first position that there is."""
    here = [one for one in numbers if (one.size, one.metric, one.scenario) == (size, metric, scenario)]
    for position in _POSITIONS:
        found = {one.subject: one for one in here if one.position == position}
        if found:
            return found
    return {}


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _filled(text: str, parts: Mapping[str, str]) -> str:
    """Put each part between its markers."""
    for name, part in parts.items():
        begin, end = f"<!-- {name}: made by make findings -->", f"<!-- end of {name} -->"
        before, mark, rest = text.partition(begin)
        _, closing, after = rest.partition(end)
        if not (mark and closing):
            raise ValueError(f"no {begin} … {end}")
        text = f"{before}{begin}\n{part}\n{end}{after}"
    return text


if __name__ == "__main__":
    main(sys.argv[1:])
