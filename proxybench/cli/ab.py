"""``proxybench ab``: two kube-proxies side by side, or with ``--bisect`` where in a list of them a number changed."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import click

from proxybench.ab import bisect as search
from proxybench.ab import table
from proxybench.ab.experiment import Plan, experiment_of
from proxybench.ab.judge import judge
from proxybench.ab.origin import HereVersions, common_modes, find_origin
from proxybench.cli.experiment import OUT, SET
from proxybench.cli.gate import metrics, share
from proxybench.cli.output import FILE, check_folder, write_out
from proxybench.cli.terminal import print_json, print_table
from proxybench.errors import RunError, UsageError
from proxybench.experiment.subjects import Backend
from proxybench.model import Mode
from proxybench.results.folder import open_run

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from proxybench.ab.origin import Origin
    from proxybench.gate.outcome import Comparison, Outcome
    from proxybench.run.outcome import RunOutcome

_PAIR = 2


@dataclass(frozen=True)
class _How:
    """How pairs are measured and judged."""

    plan: Plan
    out: Path
    threshold: float | None
    only: tuple[str, ...]
    keep_going: bool


@click.command(
    epilog="For example: sudo proxybench ab v1.36.3 ./kube-proxy; or, to find the release in which a number changed: "
    "sudo proxybench ab v1.33.13 v1.36.3 v1.37.2 --bisect --metric cpu.control_loop/add-one."
)
@click.argument("proxies", metavar="OLD NEW", nargs=-1, required=True)
@click.option(
    "--mode",
    "modes",
    multiple=True,
    type=click.Choice([str(mode) for mode in Mode]),
    help="Compare in this mode; may be given again. [default: iptables, and nftables where both have it]",
)
@click.option(
    "--services", multiple=True, type=click.IntRange(min=1), default=(400,), help="Number of Services. [default: 400]"
)
@click.option(
    "--repetitions", type=click.IntRange(min=2), default=6, show_default=True, help="How often each is measured."
)
@click.option(
    "--times",
    type=click.IntRange(1, 100),
    default=16,
    show_default=True,
    help="How often one Service is added, changed and deleted within a repetition.",
)
@click.option(
    "--iptables",
    type=click.Choice([str(backend) for backend in Backend]),
    default="legacy",
    show_default=True,
    help="The iptables it runs.",
)
@click.option("--threshold", type=share, help="Share of OLD from which a change matters. [default: 1%]")
@click.option(
    "--only",
    multiple=True,
    callback=metrics,
    metavar="METRIC",
    help="Judge only this metric, or 'forwarding.' for all of them.",
)
@OUT
@SET
@click.option(
    "--keep-going", is_flag=True, help="Where steps failed, judge what was measured instead of ending with 3."
)
@click.option("--all", "everything", is_flag=True, help="Show numbers that are not judged, too.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.option("--markdown", type=FILE, help="Write the table for a pull request's comment.")
@click.option("--bisect", is_flag=True, help="Take a list of two or more, and search where --metric changed.")
@click.option("--metric", metavar="METRIC/SCENARIO", help="For --bisect: the number, such as cpu.control_loop/add-one.")
def ab(  # noqa: PLR0913 - the options of the verb
    *,
    proxies: tuple[str, ...],
    modes: tuple[str, ...],
    services: tuple[int, ...],
    repetitions: int,
    times: int,
    iptables: str,
    threshold: float | None,
    only: tuple[str, ...],
    out: Path,
    overrides: tuple[str, ...],
    keep_going: bool,
    everything: bool,
    as_json: bool,
    markdown: Path | None,
    bisect: bool,
    metric: str | None,
) -> int:
    """Compare two kube-proxies: the same scenarios, in turns in one run, by counted instructions.

    OLD and NEW are releases (v1.37.2), files, or checkouts of kubernetes. Ends with 0 when nothing got worse, 1 when
    something did, 3 when the run failed, 4 when it cannot be told.
    """
    _check(proxies, modes, metric, bisect=bisect, markdown=markdown)
    check_folder(out)
    number = search.number(metric) if metric else None
    versions = HereVersions()
    origins = [find_origin(text, versions) for text in proxies]
    wanted = [Mode(mode) for mode in modes] or ([Mode.IPTABLES] if number else [])
    chosen, left_out = common_modes(origins, wanted)
    for reason in left_out:
        click.echo(f"left out: {reason}", err=True)
    plan = Plan(chosen, tuple(dict.fromkeys(services)), repetitions, Backend(iptables), times, overrides=overrides)
    how = _How(plan, out, threshold, only, keep_going)
    if number:
        return _bisect(origins, number, how, as_json=as_json)
    outcome, run = _compare(origins[0], origins[1], how)
    if markdown:  # first: whoever reads standard output may leave early
        write_out(markdown, table.to_markdown(outcome, run.problems).encode())
    if as_json:
        print_json(table.as_json(outcome, run.folder, run.problems))
    else:
        print_table(table.terminal_table(outcome, everything=everything))
        click.echo(f"{outcome.sentence()}\nresults: {run.folder}")
    for problem in run.problems:
        click.echo(f"error: {problem}", err=True)
    return outcome.exit_code


def _check(
    proxies: Sequence[str], modes: Sequence[str], metric: str | None, *, bisect: bool, markdown: Path | None
) -> None:
    """Raise UsageError for options that do not go together."""
    if not bisect:
        if len(proxies) != _PAIR:
            raise UsageError(f"{len(proxies)} given; write OLD and NEW, or --bisect for a list")
        if metric:
            raise UsageError("--metric is for --bisect; to judge one metric, write --only METRIC")
        return
    if len(proxies) < _PAIR:
        raise UsageError("--bisect needs a list of two or more, oldest first")
    if not metric:
        raise UsageError("--bisect needs --metric METRIC/SCENARIO, such as cpu.control_loop/add-one")
    if len(modes) > 1:
        raise UsageError("--bisect searches in one mode; write one --mode")
    if markdown:
        raise UsageError("--markdown is not for --bisect; write --json")


def _compare(old: Origin, new: Origin, how: _How) -> tuple[Outcome, RunOutcome]:
    from proxybench.cli.measure import measure  # noqa: PLC0415 - imports everything that measures
    from proxybench.cli.progress import open_progress  # noqa: PLC0415 - keeps help fast

    experiment = experiment_of(old, new, how.plan)
    with closing(open_progress(experiment)) as progress:
        run = measure(experiment, how.out, resume=None, progress=progress)
    labels = (old.label, new.label)
    folder = open_run(run.folder)
    outcome = judge(folder, labels, threshold=how.threshold, only=how.only, keep_going=how.keep_going)
    return outcome, run


def _bisect(origins: Sequence[Origin], number: search.Number, how: _How, *, as_json: bool) -> int:
    only = how.only or (number.metric,)
    lean = replace(how, plan=number.narrow(how.plan), only=only)

    def measure(old: int, new: int) -> Comparison:
        outcome, run = _compare(origins[old], origins[new], lean)
        for problem in run.problems:
            click.echo(f"error: {problem}", err=True)
        if outcome.incomplete:
            raise RunError(f"{outcome.base} -> {outcome.new}: {'; '.join(outcome.incomplete)}; the search ends here")
        return number.pick(outcome)

    found = search.bisect([origin.label for origin in origins], measure, lambda line: click.echo(line, err=as_json))
    if as_json:
        print_json(search.as_json(found))
    else:
        click.echo(found.text)
    return found.exit_code
