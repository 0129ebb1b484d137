"""What several words of an experiment must agree on. Each check sees only sections that are right in themselves."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from proxybench.experiment import profile_checks, subject_checks
from proxybench.experiment.matrix import estimate
from proxybench.experiment.places import ClockChoice, KernelChoice, LabChoice
from proxybench.experiment.requests import requests
from proxybench.experiment.spec import MAX_ENDPOINTS, REPEATED, MeasureSpec, ProxierNodes
from proxybench.experiment.subject_checks import longer
from proxybench.experiment.subjects import KubeProxySubject, ReferenceSubject
from proxybench.experiment.words import format_duration, uneven
from proxybench.model import Address, Family, Mode, Origin

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from collections.abc import Set as AbstractSet

    from proxybench.experiment.source import Loc
    from proxybench.experiment.spec import Experiment
    from proxybench.experiment.subject_checks import Finding

_FAR, _LOCAL = 2, 4
"""The least Services of which one has its pods elsewhere, and one of each externalTrafficPolicy has them here."""

MOST_STEPS = 20_000
"""A week, the longest limits.run, of steps of half a minute."""
MOST_WITH_BATCH = 21_000
"""Services at one time: a node has 21,512 ports for them."""

_OUTSIDE = {Address.EXTERNAL_IP, Address.LOAD_BALANCER_IP}

Check = tuple[frozenset[str], "Callable[[Experiment], Iterator[Finding]]"]


_REFERENCE_IPV6 = "families: the reference proxier has IPv4 only; write families: [ipv4], or kind: kube-proxy"


def findings(experiment: Experiment, right: AbstractSet[str]) -> Iterator[Finding]:
    """Yield what does not agree, among the sections named in ``right`` (names of Experiment's fields)."""
    for needs, check in _CHECKS:
        if needs <= right:
            yield from check(experiment)


def _target(experiment: Experiment) -> Iterator[Finding]:
    lab = experiment.target.lab
    if experiment.target.cluster is not None and lab != type(lab)():
        yield ("target", "lab"), "lab: target names a cluster, too; keep one"
    if lab.kind is LabChoice.NETNS and ClockChoice.INSTRUCTIONS in lab.clocks:
        several = len(lab.clocks) > 1  # auto: namespaces for the one, a VM for the other
        yield (
            ("target", "lab", "clock"),
            f"clock: only a VM can count instructions; write clock: wall, or kind: {'auto' if several else 'vm'}",
        )
    if lab.kind is LabChoice.NETNS and lab.kernel is not KernelChoice.DEBIAN:
        yield (
            ("target", "lab", "kernel"),
            "kernel: namespaces have this machine's; write kind: vm, or remove kernel",
        )
    if lab.shards is not None and (lab.kind is LabChoice.NETNS or lab.clock is ClockChoice.WALL):
        by_kind = lab.kind is LabChoice.NETNS
        one, right = ("in namespaces", "kind: vm") if by_kind else ("by the wall clock", "clock: instructions")
        yield (
            ("target", "lab", "shards"),
            f"shards: {one} one step is taken at a time; write {right}, or remove shards",
        )


def _families(experiment: Experiment) -> Iterator[Finding]:
    if Family.IPV6 not in experiment.families:
        return
    loc = ("families", experiment.families.index(Family.IPV6))
    if experiment.target.cluster is not None:
        yield loc, "families: target.cluster is measured over IPv4 only; write families: [ipv4]"
        return
    if experiment.modes and experiment.proxier.kind != "kube-proxy":
        yield loc, _REFERENCE_IPV6
    for words in experiment.subjects:
        otherwise = isinstance(words, KubeProxySubject) and words.otherwise == "reference"
        if isinstance(words, ReferenceSubject) or otherwise:
            yield loc, _REFERENCE_IPV6
            return
    if Mode.USERSPACE in (*experiment.modes, *(mode for one in experiment.subjects for mode in (one.mode, *one.modes))):
        yield loc, "families: userspace mode has IPv4 only; write families: [ipv4], or another mode"


def _paths(experiment: Experiment) -> Iterator[Finding]:
    asked, sizes, own = experiment.measure.paths, _sizes(experiment), experiment.target.cluster is not None
    plain = {path for path in asked if path.address is not Address.NODE_PORT_LOCAL}
    mixed = len({path.address for path in plain} - {Address.CLUSTER_IP}) > 0 and len(plain) < len(asked)
    for index, path in enumerate(asked):
        loc = ("measure", "forwarding", "paths", index)
        if own and path.origin is Origin.POD:
            yield loc, f"paths: {path} begins on a pod of ours, and target.cluster has none; leave it out"
        if own and path.address in _OUTSIDE:
            yield loc, f"paths: target.cluster lends no addresses for {path}; leave it out"
        if path.origin is Origin.OTHER and experiment.proxier.nodes is not ProxierNodes.ALL:
            yield loc, f"paths: {path} goes by another node, which needs a proxy too; write proxier: {{nodes: all}}"
        if Family.IPV6 in experiment.families and (path.address is not Address.CLUSTER_IP or path.origin is Origin.POD):
            yield loc, f"paths: {path} is measured over IPv4 only; write families: [ipv4]"
        # Three Services in a row have one policy, and of three one is elsewhere.
        least = max(_FAR if path.origin is Origin.FAR else 1, _LOCAL if mixed else 1)
        if sizes and min(sizes) < least:
            yield loc, f"paths: {path} needs {least} Services, one of which is reached so; write no fewer in scale"


def _scale(experiment: Experiment) -> Iterator[Finding]:
    scale = experiment.scale
    if scale.profile:
        yield from profile_checks.alone(scale)
        return
    if not scale.services and not scale.one_service_endpoints:
        yield ("scale",), "scale names no size; write services: [10, 100] or one_service_endpoints: [10, 100]"
    for index, services in enumerate(scale.services):
        endpoints = max(scale.endpoints_per_service)
        if services * endpoints > MAX_ENDPOINTS:
            many = f"{services} Services with {endpoints} endpoints each are more than the lab has pod addresses"
            message = f"services: {many}; keep the product at or below {MAX_ENDPOINTS}"
            yield ("scale", "services", index), message


def _sizes(experiment: Experiment) -> tuple[int, ...]:
    return tuple(dict.fromkeys(services for services, _ in experiment.scale.sizes))


def _repetitions_by_clock(experiment: Experiment) -> Iterator[Finding]:
    if experiment.repetitions.instructions is not None and len(experiment.target.lab.clocks) == 1:
        yield (
            ("repetitions", "instructions"),
            "instructions: has a meaning with clock: [wall, instructions] only; write default, or numbers of Services",
        )


def _repetitions(experiment: Experiment) -> Iterator[Finding]:
    yield from _unknown_sizes(experiment, ("repetitions",), experiment.repetitions.model_extra or {}, "default or ")


def _steps(experiment: Experiment) -> Iterator[Finding]:
    steps = estimate(experiment).steps
    if steps > MOST_STEPS:
        what = f"{steps:,} steps (sizes x subjects x repetitions) are more than a run can take"
        yield ("repetitions",), f"repetitions: {what}; keep them at or below {MOST_STEPS:,}"


def _batches(experiment: Experiment) -> Iterator[Finding]:
    measure, services = experiment.measure, max(_sizes(experiment), default=0)
    for loc, batch in (
        (("measure", "sync", "batch"), measure.sync.batch if measure.sync else None),
        (("measure", "events", "mass"), measure.events.mass if measure.events else None),
    ):
        if batch and services + batch.of(services) > MOST_WITH_BATCH:
            many = f"{batch.of(services)} Services beside {services} are more than the lab is laid out for"
            yield loc, f"{loc[-1]}: {many}; keep both together at or below {MOST_WITH_BATCH}"


def _unknown_sizes(experiment: Experiment, loc: Loc, keys: Iterable[str], or_else: str) -> Iterator[Finding]:
    names = ", ".join(map(str, _sizes(experiment)))
    for key in keys:
        if key not in names.split(", "):
            yield (*loc, key), f'"{key}" is no number of Services in scale; write {or_else}one of: {names}'


def _load(experiment: Experiment) -> Iterator[Finding]:
    load = experiment.load
    if load is None:
        return
    sizes = _sizes(experiment)
    for index, size in enumerate(load.at or ()):
        if size not in sizes:
            yield (
                ("load", "at", index),
                f"at: {size} is no number of Services in scale; write one of: {', '.join(map(str, sizes))}",
            )
    if load.rate < load.users:
        few = f"{load.rate} connections per second are too few for {load.users} users"
        yield ("load", "rate"), f"rate: {few}; write at least one per user"


def _shared(experiment: Experiment) -> Iterator[Finding]:
    load, clients = experiment.load, experiment.target.lab.clients
    if load and experiment.target.cluster is None and load.users % clients:
        yield ("load", "users"), f"users: {uneven(load.users, clients)}"


def _measured(experiment: Experiment) -> Iterator[Finding]:
    measure = experiment.measure
    if not (any(getattr(measure, name) for name in MeasureSpec.model_fields) or experiment.load):
        yield ("measure",), "measure: nothing is switched on; write sync: true, cpu: true or forwarding: true"
    forwarding = measure.forwarding
    if forwarding and forwarding.block > forwarding.connections:
        yield (
            ("measure", "forwarding", "block"),
            f"block: {forwarding.block} is more than all connections ({forwarding.connections}); write fewer",
        )


def _times(experiment: Experiment) -> Iterator[Finding]:
    sync = experiment.measure.sync
    if sync and sync.times > 1 and not REPEATED.intersection(sync.scenarios):
        yield ("measure", "sync", "times"), f"times: none of {', '.join(sorted(REPEATED))} is measured; remove it"


def _migrate(experiment: Experiment) -> Iterator[Finding]:
    migrate = experiment.measure.migrate
    if migrate is None:
        return
    there = [one.subject.label for one in requests(experiment) if one.mode is migrate.to]
    loc = ("measure", "migrate", "to")
    if not there:
        yield loc, f"to: there is no subject in {migrate.to} mode to migrate to; add one to subjects"
    elif len(there) > 1:
        yield loc, f"to: {', '.join(there)} are all in {migrate.to} mode; keep one of them"


def _limits(experiment: Experiment) -> Iterator[Finding]:
    limits = experiment.limits
    if limits.cell > limits.run:
        yield longer(("limits", "cell"), limits.cell, "run", limits.run)
    for key, limit in limits.cells.items():
        if limit > limits.run:
            yield longer(("limits", "cells", key), limit, "run", limits.run)


def _limited_sizes(experiment: Experiment) -> Iterator[Finding]:
    yield from _unknown_sizes(experiment, ("limits", "cells"), experiment.limits.cells, "")


def _patience(experiment: Experiment) -> Iterator[Finding]:
    limits, sync = experiment.limits, experiment.measure.sync
    cell, name = min(((limit, f"limits.cells.{key}") for key, limit in limits.cells.items()), default=(math.inf, ""))
    if limits.cell <= cell:
        cell, name = limits.cell, "limits.cell"
    if sync and sync.timeout > cell:
        yield longer(("measure", "sync", "timeout"), sync.timeout, name, cell)
    events = experiment.measure.events
    if events and events.timeout > cell:
        yield longer(("measure", "events", "timeout"), events.timeout, name, cell)
    measure, load = experiment.measure, experiment.load
    lasting = {
        ("measure", "soak", "duration"): measure.soak.duration if measure.soak else 0,
        ("measure", "cpu", "idle"): measure.cpu.idle if measure.cpu else 0,
        ("load", "duration"): load.duration if load else 0,
    }
    for loc, seconds in lasting.items():  # these are waited for to their end, among else
        if seconds >= cell:
            times = format_duration(seconds), format_duration(cell)
            yield loc, f"{loc[-1]}: {times[0]} must be less than {name} ({times[1]}); make it shorter, or {name} longer"


_CHECKS: tuple[Check, ...] = (
    (frozenset({"target"}), _target),
    (frozenset({"proxier"}), subject_checks.proxier),
    (frozenset({"subjects", "modes", "target"}), subject_checks.owners),
    (frozenset({"subjects", "modes"}), subject_checks.one_form),
    (frozenset({"subjects", "modes", "proxier"}), subject_checks.subjects),
    (frozenset({"target", "families", "subjects", "modes", "proxier"}), _families),
    (frozenset({"target", "measure", "proxier", "families", "scale"}), _paths),
    (frozenset({"scale"}), _scale),
    (frozenset({"scale", "target", "families"}), profile_checks.place),
    (frozenset({"scale", "measure"}), profile_checks.measured),
    (frozenset({"scale", "repetitions"}), _repetitions),
    (frozenset({"scale", "repetitions", "subjects", "modes", "proxier", "families", "target"}), _steps),
    (frozenset({"scale", "measure"}), _batches),
    (frozenset({"scale", "limits"}), _limited_sizes),
    (frozenset({"target", "repetitions"}), _repetitions_by_clock),
    (frozenset({"scale", "load"}), _load),
    (frozenset({"target", "load"}), _shared),
    (frozenset({"measure", "load"}), _measured),
    (frozenset({"measure"}), _times),
    (frozenset({"measure", "subjects", "modes", "proxier"}), _migrate),
    (frozenset({"limits"}), _limits),
    (frozenset({"measure", "load", "limits"}), _patience),
)
