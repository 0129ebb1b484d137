"""How a run was measured, from its manifest and the registry of metrics: where, by which clock, what, how often."""

from __future__ import annotations

import shlex
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from proxybench.experiment.profile import Profile
from proxybench.metric_facts import find
from proxybench.report.tables import Cell, Table
from proxybench.report.words import DASH, TIMES, clock_long, count, human, join

if TYPE_CHECKING:
    from collections.abc import Iterable

    from proxybench.report.data import ReportData
    from proxybench.results.manifest import LabFacts, Manifest, NodeFacts, Step, SubjectFacts

Facts = list[tuple[str, str]]
"""Terms and what is known of them."""


def origin(manifest: Manifest) -> str:
    """Say in one line where a figure comes from."""
    programs = dict.fromkeys(each.subject.program for each in manifest.subjects)
    kernels = manifest.kernels()
    parts = [f"proxybench, {manifest.name}, run {manifest.run}", *programs]
    parts += [whose] if (whose := replayed(manifest)) else []
    parts += [f"Linux {', '.join(kernels)}"] if kernels else []
    unfinished = "" if manifest.state == "complete" else f" ({manifest.state})"
    return f"{'; '.join(parts)}; medians over {_repetitions(manifest.matrix)}{unfinished}"


def how_measured(data: ReportData) -> Facts:
    """Return the run's own story, in the order in which one would ask."""
    manifest = data.manifest
    steps = manifest.matrix
    done = sum(step.state == "done" for step in steps)
    seconds = sum(step.seconds or 0.0 for step in steps)
    return [
        *(("where", _lab(lab)) for lab in manifest.labs),
        *(("what it lends", _lent(lab)) for lab in manifest.labs if lab.exclusive is not None),
        *(("subject", _subject(each)) for each in manifest.subjects),
        ("sizes", _sizes(steps)),
        *(("profile", _told(profile)) for profile in (_profile_of(manifest),) if profile),
        ("how often", f"{_repetitions(steps)}; a number is the median of its repetitions' medians"),
        ("in which order", "subjects follow each other within a repetition, and start one further in the next"),
        ("steps", f"{done} of {len(steps)} done, {seconds / 60:.0f} min of work"),
        ("how sure", _resolution(data)),
        ("program", f"proxybench {manifest.proxybench}"),
    ]


def methods_table(data: ReportData) -> Table | None:
    """Return from when to when each of the run's numbers lies, as the registry of metrics has it."""
    rows, units = [], _units(data)
    for metric in dict.fromkeys(record.metric for record in data.records):
        about = find(metric)
        if about is None:
            rows.append((Cell(metric), *(Cell(DASH) for _ in range(4)), Cell("not known to this program")))
            continue
        version = str(data.manifest.methods.get(metric, 1))
        what = (Cell(about.start or DASH), Cell(about.end or DASH), Cell(units[metric]), Cell(version, number=True))
        rows.append((Cell(about.title, metric), *what, Cell(about.remarks)))
    heads = (Cell("Number"), Cell("From"), Cell("To"), Cell("Unit"), Cell("Method", number=True), Cell("Remarks"))
    return Table("What each number is; a method's version changes when its way of measuring does", heads, tuple(rows))


def _units(data: ReportData) -> dict[str, str]:
    """Return in which units each metric is told; those of a run by both clocks are two."""
    found: dict[str, dict[str, None]] = {}
    for record in data.records:
        found.setdefault(record.metric, {})[record.shown_unit] = None
    return {metric: ", ".join(units) for metric, units in found.items()}


def nodes(manifest: Manifest) -> list[tuple[str, Facts]]:
    """Return nodes with equal facts together, since most are alike."""
    alike: list[tuple[list[str], NodeFacts]] = []
    for name, facts in sorted(manifest.fingerprint.nodes.items()):
        same = next((names for names, other in alike if replace(other, speed=facts.speed) == facts), None)
        if same is None:
            alike.append(([name], facts))
        else:
            same.append(name)
    return [(", ".join(names), _node(facts)) for names, facts in alike]


def command(manifest: Manifest) -> str:
    """Return the command that made the run, as it would be typed."""
    told = manifest.command
    return told if isinstance(told, str) else shlex.join(told)


def _node(facts: NodeFacts) -> Facts:
    backends = facts.iptables or {facts.iptables_backend: facts.iptables_version}
    return [
        ("kernel", facts.kernel),
        ("CPU", f"{facts.cpus} {TIMES} {facts.cpu}"),
        ("memory", f"{facts.memory / 2**30:.3g} GiB"),
        ("iptables", ", ".join(f"{version} ({backend})" for backend, version in backends.items())),
        *([("nft", facts.nft_version)] if facts.nft_version else []),
        ("Python", facts.python),
        *([("real-time priority", _real_time(facts.real_time))] if facts.real_time is not None else []),
        *facts.speed.items(),
        *sorted(facts.sysctls.items()),
    ]


def made_of(lab: LabFacts) -> str:
    """Name a lab, with what its guests run on; namespaces run on nothing else."""
    return f"{lab.kind} lab" + (f" ({lab.accelerator})" if lab.accelerator not in {None, "none"} else "")


def _lab(lab: LabFacts) -> str:
    return f"{made_of(lab)}; {clock_long(lab.clock)}" + (f". Chosen so: {lab.why}" if lab.why else "")


def _lent(lab: LabFacts) -> str:
    whose = "nobody else uses it" if lab.exclusive else "others may use it, too"
    proxies = "are started there, each in a cgroup made for it" if lab.starts_proxies else "run there, and are watched"
    return f"{whose}; proxies {proxies}"


def _real_time(granted: bool) -> str:
    return "granted to probes" if granted else "not granted to probes: others may take their turn within a connection"


def _subject(each: SubjectFacts) -> str:
    source = f", {each.source}" if each.source else ""
    config = f", configuration {each.config}" if each.config else ""
    periods = f"minSyncPeriod {each.min_sync_period:g} s, syncPeriod {each.sync_period:g} s"
    alone = f", CPU of cgroup {each.cgroup}, in which nothing else was" if each.cgroup else ""
    some = " of some steps" if each.cgroup else ""
    left_out = f", CPU and memory{some} left out: {each.no_cpu}" if each.no_cpu else ""
    return f"{each.subject.label}{source}: {periods}{config}{alone}{left_out}"


def _sizes(steps: Iterable[Step]) -> str:
    found = dict.fromkeys((step.cell.endpoints_per_service, step.cell.services) for step in steps)
    widths = dict.fromkeys(width for width, _ in sorted(found))
    return (
        "; ".join(
            f"{join([f'{size:,}' for of_width, size in sorted(found) if of_width == width])} Services with "
            f"{count(width, 'endpoint')} each"
            for width in widths
        )
        or DASH
    )


def replayed(manifest: Manifest) -> str:
    """Say whose Services a run replayed: "the 2,010 Services of profile e5ff12106824"; "" for no profile's."""
    profile = _profile_of(manifest)
    return "" if profile is None else f"the {count(profile.services, 'Service')} of profile {profile.digest}"


def _profile_of(manifest: Manifest) -> Profile | None:
    words = manifest.experiment.get("scale", {}).get("profile") if _profiles(manifest.matrix) else None
    return Profile.model_validate(words) if words else None


def _profiles(steps: Iterable[Step]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(step.cell.profile for step in steps if step.cell.profile))


def _told(profile: Profile) -> str:
    """Say what was replayed, and what of it is the lab's."""
    kinds = Counter[str]()
    for shape in profile.shapes:
        kinds[shape.type] += shape.services
    types = ", ".join(f"{number:,} {name}" for name, number in kinds.most_common())
    of_nodes = f" of {count(profile.nodes.count, 'node')}" if profile.nodes else ""
    return (
        f"{profile.digest}: {profile.services:,} Services ({types}) with {profile.endpoints:,} endpoints, as a cluster"
        f"{of_nodes} had them, on the lab's nodes; and {profile.probed:,} of proxybench's own among them, which alone "
        "are connected to. Endpoints of each are told on the average"
    )


def _repetitions(steps: Iterable[Step]) -> str:
    """Say how often sizes were measured: "3 repetitions", or "1 to 3 repetitions"."""
    most: dict[tuple[int, int], int] = {}
    for step in steps:
        size = (step.cell.services, step.cell.endpoints_per_service)
        most[size] = max(most.get(size, 0), step.repetition)
    low, high = min(most.values(), default=0), max(most.values(), default=0)
    return count(high, "repetition") if low == high else f"{low} to {count(high, 'repetition')}"


def _resolution(data: ReportData) -> str:
    """Say what numbers are uncertain by, whatever their repetitions: probes' steps and clocks' offsets."""
    worst: dict[tuple[str, str], float] = {}
    for record in data.records:
        place = (record.metric, record.shown_unit)
        if record.uncertainty > worst.get(place, 0.0):
            worst[place] = record.uncertainty
    told = [f"{metric} ± {human(value, unit)} at most" for (metric, unit), value in worst.items()]
    return f"intervals are never narrower than the steps of reading: {'; '.join(told) or 'none is known'}"
