"""Puts together what measures, and runs it: importing this module imports all of that."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

from proxybench.errors import UnavailableError, UsageError
from proxybench.experiment.compat import KubeVersion
from proxybench.experiment.places import LabChoice
from proxybench.experiment.requests import requests
from proxybench.hosts.fleet import Fleet
from proxybench.model import Family
from proxybench.releases.checkout import build_from_source
from proxybench.releases.component import Component
from proxybench.releases.ensure import ensure
from proxybench.run.conformance import Examination, everywhere
from proxybench.run.leg import Leg, why_not
from proxybench.run.lineup import line_up
from proxybench.run.run import Run
from proxybench.run.session import Sessions
from proxybench.run.testbed import others_needed
from proxybench.subjects.cluster import ClusterDriver
from proxybench.subjects.registry import drivers
from proxybench.targets.base import Needs
from proxybench.targets.cluster.place import RunPlace
from proxybench.targets.cluster.switch.recovery import still_switched
from proxybench.targets.cluster.target import cluster_target
from proxybench.targets.registry import make_targets
from proxybench.units import SystemClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from proxybench.conformance.property import Property
    from proxybench.experiment.spec import Experiment
    from proxybench.model import Subject
    from proxybench.releases.store import Binary
    from proxybench.run.conformance import Examined
    from proxybench.run.lineup import Lineup
    from proxybench.run.outcome import RunOutcome
    from proxybench.run.progress import Progress
    from proxybench.targets.base import Target
    from proxybench.targets.cluster.switching import Switching


class CachedBinaries:
    """Implements ``subjects.kube_proxy_binary.Binaries`` with the cache, downloads and the Go tool."""

    def __init__(self, report: Callable[[str], None]) -> None:
        self._report = report

    def release(self, version: str) -> Binary:
        """Return an official release of kube-proxy."""
        return ensure(Component.KUBE_PROXY, version, report=self._report)

    def checkout(self, folder: Path) -> Binary:
        """Build kube-proxy from a checkout."""
        return build_from_source(folder, self._report)


def measure(
    experiment: Experiment,
    out: Path,
    *,
    resume: Path | None,
    progress: Progress,
    folder: Path | None = None,
    switch: Switching | None = None,
) -> RunOutcome:
    """Run an experiment into a new folder below ``out``, or go on with the run in ``resume``.

    ``switch``: a cluster's kube-proxy may be switched. Paths in the experiment are seen from ``folder``, or else from
    the working directory. Raises ProxybenchError when the run cannot begin, and lets an interrupt through.
    """
    if resume is not None and (why := still_switched(resume)):
        raise UsageError(f"{why} first")
    place = switch or RunPlace()
    lineup, sessions, targets = _put_together(experiment, folder, progress, switch, place)
    legs = [Leg(target, sessions.connect, switch.over if switch else Event()) for target in targets]
    run = Run(experiment, legs, progress, lineup, began=place.began)
    outcome = run.start(out) if resume is None else run.resume(resume)
    left = still_switched(outcome.folder)
    return replace(outcome, problems=(*outcome.problems, left)) if left else outcome


def conform(
    experiment: Experiment, properties: Sequence[Property[Any]], *, progress: Progress, folder: Path | None = None
) -> tuple[Examined, ...]:
    """Look at properties of each subject, on the first target that has what it needs. Raises as ``measure`` does."""
    if experiment.target.cluster is not None:
        raise UsageError(
            "conformance is tried in a lab, with proxies and Services of its own; leave out target.cluster"
        )
    _, sessions, targets = _put_together(experiment, folder, progress)
    found: dict[Subject, Examined] = {}
    for target in targets:
        able = [one for one, spec in sessions.specs.items() if one not in found and not why_not(target.facts, spec)]
        if not able:
            continue
        progress.stage("opening a cluster")
        with target.open(1, progress.note) as (cluster,), ExitStack() as stack:
            bed = sessions.reach(cluster, "conformance", everywhere(experiment), SystemClock(), stack)
            proxies, lack = partial(sessions.proxies, bed), partial(sessions.lack, bed)
            look = Examination(bed, proxies, lack, properties, progress.stage)
            found |= {one.subject: one for one in look.walk(able)}
    return tuple(found.values())


def _put_together(
    experiment: Experiment,
    folder: Path | None,
    progress: Progress,
    switch: Switching | None = None,
    run: RunPlace | None = None,
) -> tuple[Lineup, Sessions, tuple[Target, ...]]:
    """Find the programs, and choose where they run."""
    progress.stage("looking for the programs to measure")
    spec, place = experiment.target.cluster, folder or Path()
    own = cluster_target(spec, place, switch, run, experiment.load, others_needed(experiment)) if spec else None
    driver = ClusterDriver(SystemClock(), own.look, switch.to if switch else None) if own else None
    kinds = drivers(CachedBinaries(progress.note), SystemClock(), driver)
    lineup = line_up(requests(experiment, folder), kinds, progress.note)
    if not lineup.specs:
        raise UnavailableError("nothing of the experiment can be measured: " + "; ".join(lineup.missing.values()))
    progress.stage("looking at what this machine can do")
    # Where the lab is chosen for the modes, all count; where it is given, those that must be measured.
    chosen = experiment.target.lab.kind is LabChoice.AUTO
    specs = [spec for spec in lineup.specs.values() if chosen or not (spec.optional or spec.otherwise)]
    needs = Needs(
        modes=tuple(dict.fromkeys((spec.mode, spec.iptables) for spec in specs)),
        ipv6=Family.IPV6 in experiment.families,
        release=_newest(lineup.specs),
    )
    targets = (own,) if own else make_targets(experiment.target, needs, progress.note)
    for facts in [target.facts for target in targets]:
        progress.note(f"target: {facts.kind}, clock: {facts.clock} ({facts.why})")
    return lineup, Sessions(kinds, lineup.specs, own.fleet if own else Fleet.connect), targets


def _newest(subjects: Iterable[Subject]) -> str:
    """Return the newest release of the kube-proxies among subjects; "" where there is none."""
    versions = [subject.version for subject in subjects if subject.kind == "kube-proxy"]
    return max(versions, key=KubeVersion.of_release, default="")
