"""What several words of an experiment must agree on. Each check sees only sections that are right in themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxybench.experiment.compat import KubeVersion, mode_in
from proxybench.experiment.spec import MAX_ENDPOINTS, ClockChoice, LabChoice, ProxierKind
from proxybench.experiment.words import format_duration
from proxybench.model import Mode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from collections.abc import Set as AbstractSet

    from proxybench.experiment.source import Loc
    from proxybench.experiment.spec import Experiment

Finding = tuple["Loc", str]
Check = tuple[frozenset[str], "Callable[[Experiment], Iterator[Finding]]"]


def findings(experiment: Experiment, right: AbstractSet[str]) -> Iterator[Finding]:
    """Yield what does not agree, among the sections named in ``right`` (names of Experiment's fields)."""
    for needs, check in _CHECKS:
        if needs <= right:
            yield from check(experiment)


def _target(experiment: Experiment) -> Iterator[Finding]:
    lab = experiment.target.lab
    if lab.kind is LabChoice.NETNS and lab.clock is ClockChoice.INSTRUCTIONS:
        yield (
            ("target", "lab", "clock"),
            "clock: only a VM can count instructions; write clock: wall, or kind: vm",
        )


def _kind(experiment: Experiment) -> Iterator[Finding]:
    proxier = experiment.proxier
    if proxier.kind is not ProxierKind.REFERENCE:
        yield ("proxier", "kind"), f"kind: {proxier.kind} is not available yet; write reference"
    elif proxier.version is not None:
        yield ("proxier", "version"), "version: the reference proxier has none; remove it"
    if proxier.min_sync_period > proxier.sync_period:
        loc = ("proxier", "min_sync_period")
        yield _longer(loc, proxier.min_sync_period, "sync_period", proxier.sync_period)


def _modes(experiment: Experiment) -> Iterator[Finding]:
    proxier = experiment.proxier
    if proxier.kind is ProxierKind.REFERENCE:
        for index, mode in enumerate(experiment.modes):
            if mode is Mode.NFTABLES:
                yield (
                    ("modes", index),
                    "nftables is not yet available in the reference proxier; remove it from modes",
                )
    if proxier.kind is not ProxierKind.KUBE_PROXY:
        return
    if proxier.version is None:
        yield ("proxier",), 'kind kube-proxy needs a version; write version: "1.29"'
        return
    try:
        version = KubeVersion.parse(proxier.version)
    except ValueError as error:
        yield ("proxier", "version"), f"version: {error}"
        return
    for index, mode in enumerate(experiment.modes):
        verdict = mode_in(mode, version)
        if not verdict.able:
            yield ("modes", index), f"kube-proxy {version} has no mode {mode}: {verdict.note}"


def _scale(experiment: Experiment) -> Iterator[Finding]:
    scale = experiment.scale
    if not scale.services and not scale.one_service_endpoints:
        yield ("scale",), "scale names no size; write services: [10, 100] or one_service_endpoints: [10, 100]"
    for index, services in enumerate(scale.services):
        endpoints = max(scale.endpoints_per_service)
        if services * endpoints > MAX_ENDPOINTS:
            many = f"{services} Services with {endpoints} endpoints each are more than the lab has pod addresses"
            message = f"services: {many}; keep the product at or below {MAX_ENDPOINTS}"
            yield ("scale", "services", index), message


def _sizes(experiment: Experiment) -> tuple[int, ...]:
    scale = experiment.scale
    return tuple(dict.fromkeys((*scale.services, *((1,) if scale.one_service_endpoints else ()))))


def _repetitions(experiment: Experiment) -> Iterator[Finding]:
    sizes = _sizes(experiment)
    names = ", ".join(map(str, sizes))
    for key in experiment.repetitions.model_extra or {}:
        if key not in {str(size) for size in sizes}:
            yield (
                ("repetitions", key),
                f'"{key}" is no number of Services in scale; write default or one of: {names}',
            )


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


def _measured(experiment: Experiment) -> Iterator[Finding]:
    measure = experiment.measure
    if not (measure.sync or measure.cpu or measure.forwarding or experiment.load):
        yield ("measure",), "measure: nothing is switched on; write sync: true, cpu: true or forwarding: true"
    forwarding = measure.forwarding
    if forwarding and forwarding.block > forwarding.connections:
        yield (
            ("measure", "forwarding", "block"),
            f"block: {forwarding.block} is more than all connections ({forwarding.connections}); write fewer",
        )


def _limits(experiment: Experiment) -> Iterator[Finding]:
    limits = experiment.limits
    if limits.cell > limits.run:
        yield _longer(("limits", "cell"), limits.cell, "run", limits.run)


def _patience(experiment: Experiment) -> Iterator[Finding]:
    sync, cell = experiment.measure.sync, experiment.limits.cell
    if sync and sync.timeout > cell:
        yield _longer(("measure", "sync", "timeout"), sync.timeout, "limits.cell", cell)


def _longer(loc: Loc, seconds: float, other: str, limit: float) -> Finding:
    times = format_duration(seconds), format_duration(limit)
    return loc, f"{loc[-1]}: {times[0]} is longer than {other} ({times[1]}); make it shorter"


_CHECKS: tuple[Check, ...] = (
    (frozenset({"target"}), _target),
    (frozenset({"proxier"}), _kind),
    (frozenset({"modes", "proxier"}), _modes),
    (frozenset({"scale"}), _scale),
    (frozenset({"scale", "repetitions"}), _repetitions),
    (frozenset({"scale", "load"}), _load),
    (frozenset({"measure", "load"}), _measured),
    (frozenset({"limits"}), _limits),
    (frozenset({"measure", "limits"}), _patience),
)
