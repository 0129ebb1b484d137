"""The verbs that decide: compare, gate, baseline save, trend."""

from __future__ import annotations

import re
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from proxybench.cli.output import FILE, FOLDER, write_out
from proxybench.cli.terminal import output_console
from proxybench.errors import ExitCode
from proxybench.experiment.words import suggest
from proxybench.gate import outputs
from proxybench.gate import trend as trends
from proxybench.gate.baseline import open_side, save
from proxybench.gate.compare import compare as compare_sides
from proxybench.gate.settings import PREFIX
from proxybench.gate.side import FIELDS
from proxybench.gate.subjects import FIELDS as SUBJECT_FIELDS
from proxybench.metrics import Metric
from proxybench.results.atomic import make_folder

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxybench.gate.outcome import Outcome
    from proxybench.gate.side import Side


_Command = TypeVar("_Command", bound="Callable[..., Any]")
_RUN = click.Path(path_type=Path)


def share(text: str) -> float:
    """Read a share above 0, written ``5%`` or ``0.05``; 1 and more need the sign, so that 5 is no 500 %."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?|\.\d+)\s*(%?)", text.strip())
    number = float(match[1]) / (100 if match[2] else 1) if match else 0.0
    if not match or not 0 < number < inf or (number >= 1 and not match[2]):
        raise click.BadParameter(f"{text!r}: write a share such as 5% or 0.05")
    return number


def fields(_context: click.Context, _option: click.Parameter, names: tuple[str, ...]) -> tuple[str, ...]:
    """Check that each name is a field of fingerprint or subject, or looks like a setting of the experiment."""
    known = (*SUBJECT_FIELDS, *FIELDS)
    for name in names:
        if name not in known and not name.startswith(PREFIX):
            hint = suggest(name, known, "the fields are")
            raise click.BadParameter(f"{name!r} is neither a field nor a setting (such as {PREFIX}warmup); {hint}")
    return names


def metrics(_context: click.Context, _option: click.Parameter, names: tuple[str, ...]) -> tuple[str, ...]:
    """Check that each name is a metric's, or how several begin ("forwarding.")."""
    known = [str(metric) for metric in Metric]
    for name in names:
        if name not in known and not (name.endswith(".") and any(metric.startswith(name) for metric in known)):
            raise click.BadParameter(f"{name!r} is no metric; {suggest(name, known, 'the metrics are')}")
    return names


def _options(*options: Callable[[_Command], _Command]) -> Callable[[_Command], _Command]:
    """Join options that several verbs have, in the order of the help."""

    def decorate(command: _Command) -> _Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


_judging = _options(
    click.option(
        "--threshold",
        type=share,
        help="Share of the base from which a change matters. [default: 1% under the instruction clock, else 5%]",
    ),
    click.option(
        "--only",
        multiple=True,
        callback=metrics,
        metavar="METRIC",
        help="Judge only this metric, or 'forwarding.' for all of them.",
    ),
    click.option(
        "--across",
        multiple=True,
        callback=fields,
        metavar="FIELD",
        help="Compare although this field of the fingerprint, or setting of the experiment, differs:"
        " kernel, experiment.load.rate, or 'experiment.load.' for all of them.",
    ),
    click.option("--strict", is_flag=True, help="Let one inconclusive number make the whole inconclusive."),
    click.option("--all", "everything", is_flag=True, help="Show rows that are the same or not judged, too."),
    click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table."),
    click.option("--markdown", type=FILE, help="Write a GitHub step summary."),
    click.option("--junit", type=FILE, help="Write JUnit XML, a suite per pair."),
    click.option("--annotations", is_flag=True, help="Print GitHub annotations for the worst."),
    click.option("--benchmark-action", type=FILE, help="Write the (last) run for github-action-benchmark."),
    click.option("--bencher", type=FILE, help="Write the (last) run in Bencher Metric Format."),
)


@click.command(epilog="For example: proxybench compare results/gate/RUN1 results/gate/RUN2 --only cpu.control_loop.")
@click.argument("base", type=_RUN)
@click.argument("runs", type=_RUN, nargs=-1, required=True)
@_judging
def compare(base: Path, runs: tuple[Path, ...], **how: Any) -> int:  # noqa: ANN401 -- the options of _judging
    """Compare runs with the first one: per metric and point the shift, its interval and a verdict.

    Each may be a run's folder or a baseline file. Ends with 0 when nothing got worse, 1 when something did, 3
    when a run is incomplete, 4 when that cannot be told.
    """
    return _judge(open_side(base), [open_side(run) for run in runs], **how)


@click.command(epilog="For example: proxybench gate results/gate/latest --baseline results/baselines/gate.json.")
@click.argument("run", type=_RUN)
@click.option("--baseline", type=_RUN, required=True, help="A baseline file or another run.")
@_judging
def gate(run: Path, baseline: Path, **how: Any) -> int:  # noqa: ANN401 -- the options of _judging, checked by click
    """Tell whether RUN got worse than the baseline; the exit code is the answer.

    0 no regression, 1 a regression, 2 wrong arguments or files, 3 an incomplete run, 4 inconclusive or not comparable.
    """
    new = open_side(run)
    return _judge(open_side(baseline), [new], **how)


def _judge(
    base: Side,
    runs: list[Side],
    *,
    as_json: bool,
    everything: bool,
    annotations: bool,
    **how: Any,  # noqa: ANN401 -- files to write, and what compare_sides takes
) -> int:
    """Compare, write whatever was asked for, and return the exit code.

    Files come first: whoever reads standard output may leave early (``| head``).
    """
    files = {name: how.pop(name) for name in ("markdown", "junit", "benchmark_action", "bencher")}
    outcomes = [compare_sides(base, run, **how) for run in runs]
    _write(files["markdown"], lambda: outputs.to_markdown(outcomes).encode())
    _write(files["junit"], lambda: outputs.to_junit(outcomes))
    _write(files["benchmark_action"], lambda: outputs.to_benchmark_action(runs[-1]))
    _write(files["bencher"], lambda: outputs.to_bencher(runs[-1]))
    # Standard output stays pure JSON when that is asked for.
    _print(outcomes, as_json=as_json, everything=everything)
    for line in outputs.to_annotations(outcomes) if annotations else ():
        click.echo(line, err=as_json)
    return _worst(outcomes)


@click.group()
def baseline() -> None:
    """Keep runs as small, reviewable files to gate against."""


@baseline.command("save", epilog="For example: proxybench baseline save results/gate/2* --out baseline.json.")
@click.argument("runs", type=_RUN, nargs=-1, required=True)
@click.option("--out", type=FILE, required=True, help="Where to write, such as results/baselines/NAME.json.")
def baseline_save(runs: tuple[Path, ...], out: Path) -> None:
    """Write the baseline of RUNS. Five and more runs also tell how a level moves from run to run."""
    side = save(list(runs), out)
    click.echo(f"{out}: {len(side.series)} numbers of {side.runs} run{'s' if side.runs > 1 else ''}")


@click.command(epilog="For example: proxybench trend results/gate --plots plots.")
@click.argument("results_dir", type=_RUN)
@click.option(
    "--csv", "csv_file", type=FILE, help="Write a table for Apache Otava; of several experiments NAME.csv beside it."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.option("--plots", type=FOLDER, help="Draw each number into this folder.")
@click.option("--format", "suffix", type=click.Choice(["png", "svg"]), default="png", show_default=True)
def trend(results_dir: Path, csv_file: Path | None, as_json: bool, plots: Path | None, suffix: str) -> None:
    """Show how each number went over the complete runs below RESULTS_DIR, with change points."""
    runs, left_out = trends.find_runs(results_dir)
    if left_out:
        click.echo(f"left out, since not complete: {left_out} run{'s' if left_out > 1 else ''}", err=True)
    found = trends.trends(runs)
    names = sorted({item.experiment for item in found})
    if csv_file is not None:
        for name in names:
            _write_csv(csv_file if len(names) == 1 else csv_file.with_name(f"{name}.csv"), name, found)
    if plots is not None:
        make_folder(plots)
        for item in found:
            prefix = f"{item.experiment}_" if len(names) > 1 else ""
            trends.plot(item, plots / f"{prefix}{trends.column_name(item.key)}.{suffix}")
    if as_json:
        click.echo(trends.to_json(found), nl=False)
    else:
        console = output_console()
        console.print(trends.trend_table(found))
        console.print(trends.sentence(found), markup=False, highlight=False)


def _write_csv(path: Path, name: str, found: list[trends.Trend]) -> None:
    text, left_out = trends.to_csv([item for item in found if item.experiment == name])
    write_out(path, text.encode())
    if left_out:
        click.echo(f"{path}: {left_out} numbers are not in it, since some runs of {name} lack them", err=True)


def _print(outcomes: list[Outcome], *, as_json: bool, everything: bool) -> None:
    if as_json:
        click.echo(outputs.to_json(outcomes), nl=False)
        return
    console = output_console()
    for outcome in outcomes:
        console.print(outputs.terminal_table(outcome, everything=everything))
        console.print(outcome.sentence(), markup=False, highlight=False)


def _write(path: Path | None, content: Callable[[], bytes]) -> None:
    if path is not None:
        write_out(path, content())


def _worst(outcomes: list[Outcome]) -> int:
    """Return the exit code of all: a run that is incomplete decides, then one regression, then what is undecided."""
    codes = {outcome.exit_code for outcome in outcomes}
    order = (ExitCode.RUN_FAILED, ExitCode.REGRESSION, ExitCode.INCONCLUSIVE, ExitCode.PASS)
    return int(next(code for code in order if code in codes))
