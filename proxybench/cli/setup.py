"""``proxybench setup``: brings to this machine what the lab runs on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from proxybench.cli.experiment import EXPERIMENT, NAMES, SET
from proxybench.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from pathlib import Path


@click.command(
    epilog=f"{NAMES} Exit codes: 0 nothing is lacking (any more), 3 something is, or could not be brought. "
    "kube-proxy itself is fetched by a run, or beforehand by: proxybench kube-proxy get VERSION"
)
@click.argument("experiment", metavar="[EXPERIMENT]", type=EXPERIMENT, required=False)
@SET
@click.option("--yes", is_flag=True, help="Run the commands, as root or with sudo.")
def setup(experiment: Path | None, overrides: tuple[str, ...], yes: bool) -> int:
    """Print the commands that bring what the lab lacks here; with --yes, run them.

    For an experiment: what its kind of lab needs; without one: what both kinds need, namespaces and the VM. On Debian
    12 and its kin, with apt. `proxybench doctor` tells what this machine can then measure.
    """
    from proxybench.targets.lab.install import lacking  # noqa: PLC0415 - keeps help fast

    if overrides and experiment is None:
        raise UsageError("--set changes an experiment; name its file, too")
    found = lacking(_kernel(experiment, overrides))
    if not found:
        click.echo("nothing is lacking")
        return ExitCode.PASS
    if yes:
        found.bring(lambda line: click.echo(f"setup: {line}", err=True))
        return ExitCode.PASS
    for line in found.lines():
        click.echo(line)
    click.echo("to do all that: proxybench setup --yes", err=True)
    return ExitCode.RUN_FAILED


def _kernel(experiment: Path | None, overrides: tuple[str, ...]) -> str | None:
    """Return the kernel that a guest has to boot, None where namespaces will do."""
    from proxybench.experiment.load import load_experiment  # noqa: PLC0415 - keeps help fast
    from proxybench.targets.lab.artifacts import DEFAULT_KERNEL  # noqa: PLC0415 - as above
    from proxybench.targets.lab.survey import allowed  # noqa: PLC0415 - as above

    if experiment is None:
        return DEFAULT_KERNEL
    target = load_experiment(experiment, overrides).target
    if target.cluster is not None:
        raise UsageError(f"setup brings what a lab needs; `proxybench doctor {experiment}` tells what your hosts lack")
    places = allowed(target.lab)
    return next((place.removeprefix("vm ") for place in places if place.startswith("vm ")), None)
