"""``proxybench advise``: what moving from one subject to another changes at a size, for a terminal or a program."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from proxybench.cli.terminal import plain_table, print_json, print_table

if TYPE_CHECKING:
    from rich.table import Table

    from proxybench.report.advice import Advice, Change
    from proxybench.report.criteria import Figure
    from proxybench.report.data import ReportData


@click.command(
    epilog="For example: proxybench advise results/native/latest --from ipvs --to nftables --services 3000. "
    "Exit codes: 2 no such subject, or a size that cannot be told."
)
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--from", "base", metavar="SUBJECT", required=True, help="What runs today: a mode, or a label.")
@click.option("--to", "other", metavar="SUBJECT", required=True, help="What it would be: a mode, or a label.")
@click.option("--services", metavar="N", type=click.IntRange(min=1), required=True, help="How many Services there are.")
@click.option(
    "--endpoints",
    metavar="N",
    type=click.IntRange(min=1),
    help="Endpoints of each Service; left out, those at which most sizes were measured.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def advise(run: Path, base: str, other: str, services: int, endpoints: int | None, as_json: bool) -> None:
    """Tell what moving from one subject to another changes, from a run's samples.

    RUN is its folder, or its experiment's folder for the newest one. A size between two measured ones is read off
    between them, and said to be; beyond them nothing is told.
    """
    from proxybench.report.advice import advise as advise_of  # noqa: PLC0415 - imports pandas
    from proxybench.report.advice import find_subject  # noqa: PLC0415 - as above
    from proxybench.report.data import SAMPLE_COLUMNS, gather  # noqa: PLC0415 - as above
    from proxybench.results.folder import open_run  # noqa: PLC0415 - as above

    folder = open_run(run)
    data = gather(folder.samples(SAMPLE_COLUMNS), folder.manifest)
    sides = [find_subject(name, data.subjects) for name in (base, other)]
    found = advise_of(data, sides[0], sides[1], services, endpoints)
    if as_json:
        print_json([_as_json(each, data) for each in found])
        return
    for each in found:
        _print(each, data)


def _print(advice: Advice, data: ReportData) -> None:
    from proxybench.report.measured import replayed  # noqa: PLC0415 - keeps help fast
    from proxybench.report.words import clock_long, count  # noqa: PLC0415 - keeps help fast

    size = f"{count(advice.services, 'Service')} with {count(advice.endpoints, 'endpoint')} each"
    click.echo(f"From {advice.base.label} to {advice.other.label} at {size}")
    if whose := replayed(data.manifest):
        click.echo(f"Replayed were {whose}, and some of proxybench's own; endpoints of each are told on the average")
    click.echo(f"{_where(advice, data)}; {clock_long(advice.clock)}")
    if advice.between:
        click.echo(
            f"{advice.services:,} Services were not measured: read off on a straight line (log-log) between "
            f"{advice.between[0]:,} and {advice.between[1]:,}; the intervals reach over both"
        )
    print_table(_table(advice))
    for line in advice.not_measured:
        click.echo(f"not measured: {line}")
    for line in advice.notes:
        click.echo(f"note: {line}")
    click.echo("")


def _where(advice: Advice, data: ReportData) -> str:
    kernels = ", ".join(data.manifest.kernels(advice.clock)) or "unknown"
    return f"run {data.manifest.run} ({data.manifest.state}), kernel {kernels}"


def _table(advice: Advice) -> Table:
    from proxybench.report.decision import told_detail  # noqa: PLC0415 - keeps help fast
    from proxybench.report.words import subject_names  # noqa: PLC0415 - keeps help fast

    names = subject_names([advice.base, advice.other])
    base, other = names[advice.base], names[advice.other]
    table = plain_table("", base, other, "times (95 % interval)", numbers=(base, other))
    for change in advice.changes:
        detail = told_detail(change.detail, advice.clock, waits=change.waits)
        title = f"  {change.title}" if change.part else f"{change.title}, {detail}"
        table.add_row(title, _value(change.base), _value(change.other), _ratio(change, advice))
    return table


def _value(figure: Figure | None) -> str:
    from proxybench.report.decision import value_text  # noqa: PLC0415 - keeps help fast

    return "-" if figure is None else value_text(figure)


def _ratio(change: Change, advice: Advice) -> str:
    from proxybench.report.decision import bound_text, ratio_text  # noqa: PLC0415 - keeps help fast

    if change.base is None or change.other is None:
        return change.missing
    if change.ratio is None:
        return (
            bound_text(change.base, change.other) or change.missing or "no ratio: 0 in a repetition, or two time-outs"
        )
    return ratio_text(change.ratio, change.other, read_off=advice.between is not None)


def _as_json(advice: Advice, data: ReportData) -> dict[str, object]:
    from proxybench.report.measured import replayed  # noqa: PLC0415 - keeps help fast

    return {
        "from": advice.base.label,
        "to": advice.other.label,
        "services": advice.services,
        "endpoints_per_service": advice.endpoints,
        "profile": replayed(data.manifest) or None,
        "clock": str(advice.clock),
        "run": data.manifest.run,
        "state": data.manifest.state,
        "kernels": data.manifest.kernels(advice.clock),
        "read_off_between": advice.between,
        "changes": [_change_as_json(change) for change in advice.changes],
        "not_measured": list(advice.not_measured),
        "notes": list(advice.notes),
    }


def _change_as_json(change: Change) -> dict[str, object]:
    middle, interval = change.ratio or (None, None)
    return {
        "title": change.title,
        "detail": change.detail,
        "part": change.part,
        "from": _figure_as_json(change.base),
        "to": _figure_as_json(change.other),
        "ratio": middle,
        "ratio_low": interval.low if interval else None,
        "ratio_high": interval.high if interval else None,
        "missing": change.missing or None,
    }


def _figure_as_json(figure: Figure | None) -> dict[str, object] | None:
    if figure is None:
        return None
    return {
        "median": figure.median,
        "unit": figure.unit,
        "at_least": figure.bounded,
        "uncertainty": figure.uncertainty,
        "repetitions": len(figure.values),
    }
