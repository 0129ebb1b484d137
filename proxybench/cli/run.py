"""``proxybench run``: the main job, or with ``--dry-run`` its plan."""

from __future__ import annotations

import os
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from proxybench.cli.experiment import EXPERIMENT, NAMES, OUT, SET
from proxybench.cli.output import check_folder
from proxybench.cli.terminal import human_seconds, plain_table, print_json, print_table
from proxybench.columns import flat
from proxybench.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from proxybench.experiment.matrix import Step
    from proxybench.experiment.places import ClusterSpec
    from proxybench.experiment.spec import Experiment
    from proxybench.report.page import Written
    from proxybench.run.outcome import RunOutcome
    from proxybench.targets.cluster.dry_run import DryRun
    from proxybench.targets.cluster.switching import Switching

_SHOWN = 500
"""Steps of a plan that are printed for people."""


@click.command(
    epilog=f"{NAMES} For example: proxybench run quickstart --set repetitions=3. Exit codes: 2 the file is wrong, "
    "3 the run failed, or is not complete."
)
@click.argument("experiment", metavar="EXPERIMENT", type=EXPERIMENT)
@OUT
@SET
@click.option("--dry-run", is_flag=True, help="Print the steps in their order, and do nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
@click.option(
    "--resume",
    metavar="RUN",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Go on with the run in this folder, which did not come to its end.",
)
@click.option("--allow-switch", is_flag=True, help="Let a cluster's own kube-proxy be switched, and put back.")
@click.option(
    "--i-understand-this-interrupts-traffic",
    "interrupts",
    is_flag=True,
    help="With --allow-switch: also where others' Services feel it.",
)
def run(
    experiment: Path,
    out: Path,
    overrides: tuple[str, ...],
    dry_run: bool,
    as_json: bool,
    resume: Path | None,
    allow_switch: bool,
    interrupts: bool,
) -> int:
    """Run an experiment file: build the lab, measure, and write the report.

    A lab needs what `proxybench setup` brings: one in namespaces root, too, one in a VM neither root nor KVM. Your own
    cluster needs its inventory and kubeconfig. What is measured is on the disk after each step; the report's path is
    the last line.
    """
    from proxybench.experiment.load import load_experiment  # noqa: PLC0415 - keeps help fast

    spec = load_experiment(experiment, overrides)
    if allow_switch and spec.target.cluster is None:
        raise UsageError("--allow-switch is about the kube-proxy of target.cluster, and this experiment has none")
    switch = None
    if allow_switch:
        from proxybench.targets.cluster.switching import Switching  # noqa: PLC0415 - keeps help fast

        switch = Switching(interrupts=interrupts)
    if dry_run:
        return _dry_run(spec, experiment.parent, switch, as_json=as_json)
    check_folder(resume or out)
    outcome, report = _run(spec, out, experiment.parent, resume, switch)
    _print_outcome(outcome, report, as_json=as_json)
    return ExitCode.RUN_FAILED if outcome.problems else ExitCode.PASS


def _run(
    experiment: Experiment, out: Path, folder: Path, resume: Path | None, switch: Switching | None
) -> tuple[RunOutcome, Written | None]:
    """Measure, then write the report: nothing that draws is loaded while something is measured."""
    from proxybench.cli.measure import measure  # noqa: PLC0415 - imports everything that measures
    from proxybench.cli.progress import open_progress  # noqa: PLC0415 - keeps help fast

    with closing(open_progress(experiment)) as progress:
        outcome = measure(experiment, out, folder=folder, resume=resume, progress=progress, switch=switch)
        if not outcome.records:
            return outcome, None
        from proxybench.report.page import write  # noqa: PLC0415 - see above

        progress.stage("writing the report")
        return outcome, write(outcome.folder)


def _dry_run(experiment: Experiment, folder: Path, switch: Switching | None, *, as_json: bool) -> int:
    """Print the steps, and of a user's own cluster what they would touch; return 2 where a run would be refused."""
    if not as_json:
        _print_plan(experiment)
    found = None if experiment.target.cluster is None else _look(experiment, experiment.target.cluster, folder, switch)
    if as_json:
        print_json({**_plan_as_json(experiment), **(asdict(found) if found else {})})
    if found is None:
        return ExitCode.PASS
    if not as_json:
        for line in (*(f"would touch {one}" for one in found.touches), *(f"note: {one}" for one in found.notes)):
            click.echo(line)
    for line in found.refused:
        click.echo(f"error: {line}", err=True)
    return ExitCode.USAGE if found.refused else ExitCode.PASS


def _look(experiment: Experiment, cluster: ClusterSpec, folder: Path, switch: Switching | None) -> DryRun:
    from proxybench.experiment.requests import requests  # noqa: PLC0415 - keeps help fast
    from proxybench.targets.cluster.dry_run import dry_run  # noqa: PLC0415 - keeps help fast
    from proxybench.targets.cluster.target import cluster_target  # noqa: PLC0415 - keeps help fast

    wanted = tuple(dict.fromkeys((request.mode, request.image) for request in requests(experiment)))
    return dry_run(cluster_target(cluster, folder, switch, load=experiment.load), wanted)


def _plan_as_json(experiment: Experiment) -> dict[str, object]:
    from proxybench.cli.remaining import total  # noqa: PLC0415 - keeps help fast
    from proxybench.experiment.matrix import expand  # noqa: PLC0415 - keeps help fast

    steps = expand(experiment)
    return {
        "experiment": experiment.model_dump(mode="json"),
        "seconds": round(total(experiment, steps, os.cpu_count() or 1)),
        "steps": [_step_as_json(step) for step in steps],
    }


def _print_plan(experiment: Experiment) -> None:
    from proxybench.cli.remaining import first_guess, total  # noqa: PLC0415 - keeps help fast
    from proxybench.experiment.matrix import estimate, expand  # noqa: PLC0415 - keeps help fast

    steps = expand(experiment)
    seconds = total(experiment, steps, os.cpu_count() or 1)
    columns = ("step", "repetition", "subject", "Services", "endpoints", "about")
    table = plain_table(*columns, numbers=("step", "repetition", "Services", "endpoints", "about"))
    for step in steps[:_SHOWN]:
        cell = step.cell
        guess = human_seconds(first_guess(experiment, cell, step.clock))
        numbers = (str(cell.services), str(cell.endpoints_per_service), guess)
        label = f"{cell.subject.label}, {step.clock} clock" if step.clock else cell.subject.label
        table.add_row(str(step.index), str(step.repetition), label, *numbers)
    print_table(table)
    if len(steps) > _SHOWN:
        click.echo(f"… and {len(steps) - _SHOWN:,} more, to repetition {steps[-1].repetition}; --json has all of them")
    click.echo(f"{estimate(experiment)}, about {human_seconds(seconds)} once measuring begins, by a rough first guess")
    if seconds > experiment.limits.run:
        click.echo(f"note: limits.run ends it after {human_seconds(experiment.limits.run)}")


def _step_as_json(step: Step) -> dict[str, object]:
    cell = step.cell
    return {
        "index": step.index,
        "repetition": step.repetition,
        **({"clock": str(step.clock)} if step.clock else {}),
        **flat(cell),
    }


def _print_outcome(outcome: RunOutcome, report: Written | None, *, as_json: bool) -> None:
    from proxybench.cli.headline import few_repetitions, headline_table  # noqa: PLC0415 - keeps help fast

    page = None if report is None else str(report.page)
    notes = () if report is None else (*report.notes, *few_repetitions(outcome.records))
    missing = () if report is None else report.missing
    if as_json:
        print_json(
            {
                "folder": str(outcome.folder),
                "report": page,
                "complete": not outcome.problems,
                "problems": list(outcome.problems),
                "not_measured": list(missing),
                "notes": list(notes),
                "summary": [dict(record) for record in outcome.records],
            }
        )
    else:
        if outcome.records:
            print_table(headline_table(outcome.records))
        for line in missing:
            click.echo(f"not measured: {line}")
        for line in notes:
            click.echo(f"note: {line}")
        click.echo(f"results: {outcome.folder}")
        if page is not None:
            click.echo(f"report: {page}")
    for problem in outcome.problems:
        click.echo(f"error: {problem}", err=True)
