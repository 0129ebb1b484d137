"""``proxybench``: the command line. Verbs parse arguments, call one function and print what it returns."""

from __future__ import annotations

import logging

import click

from proxybench import __version__
from proxybench.cli.group import LazyGroup, Settings, Verb
from proxybench.cli.utf8 import ensure_utf8
from proxybench.interrupts import Interrupted, Interrupter, end

VERBS = {
    "run": Verb("proxybench.cli.run:run", "Run an experiment file from lab to report."),
    "validate": Verb("proxybench.cli.experiment:validate", "Check experiment files; tell every problem at once."),
    "experiments": Verb(
        "proxybench.cli.experiment:experiments", "List the experiments that come with proxybench, or print one."
    ),
    "schema": Verb("proxybench.cli.experiment:schema", "Print the JSON Schema of experiment files."),
    "doctor": Verb(
        "proxybench.cli.doctor:doctor",
        "Tell what this machine can measure, or an experiment needs, and how to mend it.",
    ),
    "setup": Verb("proxybench.cli.setup:setup", "Print the commands that bring what the lab lacks here, or run them."),
    "conformance": Verb(
        "proxybench.cli.conformance:conformance", "Try what each subject of an experiment must do for Services."
    ),
    "lab": Verb("proxybench.cli.lab:lab", "Build, look at, enter and remove a lab by hand."),
    "inventory": Verb("proxybench.cli.inventory:inventory", "Draft the file that names the hosts of your own cluster."),
    "profile": Verb(
        "proxybench.cli.profile:profile",
        "Write the shape of a cluster's Services, without names, to be replayed in the lab.",
    ),
    "restore": Verb("proxybench.cli.restore:restore", "Put back what a run that was killed had switched in a cluster."),
    "kube-proxy": Verb("proxybench.cli.kube_proxy:kube_proxy", "Get, list and remove releases of kube-proxy."),
    "report": Verb("proxybench.cli.report:report", "Write the report of a run again."),
    "advise": Verb("proxybench.cli.advise:advise", "Tell what moving from one mode to another changes at a size."),
    "compare": Verb("proxybench.cli.gate:compare", "Compare runs point by point."),
    "ab": Verb("proxybench.cli.ab:ab", "Compare two kube-proxies side by side, or search a list of them."),
    "gate": Verb("proxybench.cli.gate:gate", "Judge a run against a baseline; exit 1 on a regression."),
    "baseline": Verb("proxybench.cli.gate:baseline", "Keep a run as the baseline of later ones."),
    "trend": Verb("proxybench.cli.gate:trend", "Show how metrics moved over many runs."),
    "completion": Verb("proxybench.cli.completion:completion", "Print the completion script of a shell."),
}


BEGIN = """\
To begin:

\b
  proxybench doctor                 what can be measured here, and what is missing
  sudo proxybench setup --yes       bring what is missing
  sudo proxybench run quickstart    measure for some minutes, and write a report
  proxybench advise results/quickstart/latest --from iptables --to nftables --services 1000

A run's folder (results/NAME/latest) has report.html, figures/, summary.csv and every sample. An experiment is a YAML
file: `proxybench experiments quickstart` prints one, `proxybench schema` has its words. `proxybench COMMAND -h` tells
of a verb.

Exit codes: 0 pass, 1 regression, 2 usage, 3 run failed or incomplete, 4 inconclusive, 130 interrupted.
"""


@click.group(
    cls=LazyGroup,
    verbs=VERBS,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=BEGIN,
)
@click.option("--debug", is_flag=True, help="Log everything, and show where an error came from.")
@click.version_option(__version__, prog_name="proxybench")
@click.pass_obj
def cli(settings: Settings, debug: bool) -> None:
    """Measure what Kubernetes Service proxying costs, mode by mode."""
    settings.debug = debug
    logger = logging.getLogger("proxybench")
    logger.handlers = [_ErrorStream()]
    logger.setLevel(logging.DEBUG if debug else logging.WARNING)
    if not debug:  # where it would like to keep a cache of its own is nobody's concern
        logging.getLogger("matplotlib").setLevel(logging.ERROR)


def entry() -> None:
    """Run the program; never returns."""
    ensure_utf8()
    interrupter = Interrupter.install()
    try:
        interrupter.raises = True
        cli.main(prog_name="proxybench")
    except Interrupted as error:  # between two lines of ours that hold nothing
        end(error)
    finally:
        interrupter.raises = False


class _ErrorStream(logging.Handler):
    """Writes to whatever standard error is at that moment: progress that is being drawn redirects it."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        click.echo(f"{record.levelname.lower()}: {record.getMessage()}", err=True)
