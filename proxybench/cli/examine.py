"""Looks at this machine for ``proxybench doctor``: importing this module imports what knows of subjects and labs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from proxybench.errors import UsageError
from proxybench.experiment.load import load_experiment
from proxybench.experiment.requests import requests
from proxybench.experiment.spec import Experiment
from proxybench.subjects.outlook import Candidate, fitting, table
from proxybench.subjects.prospects import foresee
from proxybench.targets.lab.surroundings import Surroundings
from proxybench.targets.lab.survey import allowed, survey

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from proxybench.experiment.places import ClusterSpec
    from proxybench.experiment.requests import SubjectSpec
    from proxybench.subjects.outlook import Row
    from proxybench.targets.cluster.checkup import Row as Host
    from proxybench.targets.lab.capabilities import Machine
    from proxybench.targets.lab.surroundings import Influence

USUAL = Experiment.model_validate(
    {
        "version": 1,
        "name": "doctor",
        "subjects": [
            {"kind": "kube-proxy", "version": "v1.37.2", "mode": "iptables", "iptables": ["legacy", "nft"]},
            {"kind": "kube-proxy", "version": "v1.37.2", "modes": ["ipvs", "nftables"]},
            {"kind": "reference", "mode": "userspace"},  # no kube-proxy after 1.25 has it
        ],
        "scale": {"services": [10]},
        "measure": {"sync": True},
    }
)
"""Whose subjects are looked at where no experiment is named."""


@dataclass(frozen=True)
class Findings:
    """What was found.

    ``rows``: subject by kind of node. ``allowed`` are the kinds of node that the experiment allows, ``fits`` those of
    them on which all that it requires can run. ``influences``: what could reach a measurement. ``hosts``: those of
    the inventory, where the experiment is about a cluster of the user's own.
    """

    rows: Sequence[Row]
    allowed: Sequence[str]
    fits: Sequence[str]
    influences: Sequence[Influence]
    hosts: Sequence[Host] = ()


def examine(
    path: Path | None,
    overrides: Sequence[str] = (),
    *,
    online: bool = False,
    machine: Machine | None = None,
    around: Surroundings | None = None,
) -> Findings:
    """Look at an experiment file, or (None) at the usual subjects. Raises ExperimentError, UsageError.

    Of a cluster of the user's own its hosts are looked at, and not this machine, whose kernel measures nothing there;
    its API is asked where kube-proxy would have to be switched.
    """
    experiment = USUAL if path is None else load_experiment(path, overrides)
    folder = path.parent if path else Path()
    if experiment.target.cluster is not None:
        if online:
            raise UsageError(
                "--online asks for releases, and target.cluster runs a kube-proxy of its own; leave it out"
            )
        return _of_cluster(experiment, experiment.target.cluster, folder)
    found = tuple(_candidates(requests(experiment, folder), online=online))
    rows = table(found, survey([one.need for one in found], machine))
    places = allowed(experiment.target.lab)
    fits = tuple(place for place in places if place in fitting(rows))
    return Findings(rows, places, fits, (around or Surroundings()).influences())


def _of_cluster(experiment: Experiment, spec: ClusterSpec, folder: Path) -> Findings:
    from proxybench.targets.cluster.checkup import checkup  # noqa: PLC0415 - imports what speaks SSH
    from proxybench.targets.cluster.outlook import CLUSTER, able, outlook, switches  # noqa: PLC0415 - as above
    from proxybench.targets.cluster.prospect import refusals  # noqa: PLC0415 - as above
    from proxybench.targets.cluster.target import cluster_target  # noqa: PLC0415 - as above

    target = cluster_target(spec, folder, load=experiment.load)
    hosts = checkup(Path(target.file), target.ssh)
    specs = requests(experiment, folder)
    rows = outlook(specs, hosts, refusals(target, switches(specs, hosts)))
    return Findings(rows, (CLUSTER,), (CLUSTER,) if able(hosts, rows) else (), (), hosts)


def _candidates(specs: Sequence[SubjectSpec], *, online: bool) -> Iterator[Candidate]:
    """Yield each subject, and what is measured in its place."""
    for spec in specs:
        instead = spec.otherwise
        required = instead is None and not spec.optional
        yield Candidate(spec, foresee(spec, online=online), required=required)
        if instead is not None:
            yield Candidate(instead, foresee(instead, online=online), required=False)
