"""What the words of subjects, modes and proxier must agree on. Pure."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from proxybench.experiment.compat import KubeVersion, mode_in
from proxybench.experiment.overlay import RESERVED, leaves
from proxybench.experiment.requests import entries, placed
from proxybench.experiment.spec import ProxierKind
from proxybench.experiment.subjects import ClusterSubject, KubeProxySubject, ReferenceSubject
from proxybench.experiment.words import format_duration
from proxybench.model import Mode

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from proxybench.experiment.requests import Words
    from proxybench.experiment.source import Loc
    from proxybench.experiment.spec import Experiment, ProxierSpec
    from proxybench.model import Subject

Finding = tuple["Loc", str]

_OLDEST = KubeVersion(1, 20)
_EXAMPLE = "[{kind: kube-proxy, version: v1.37.2, mode: nftables}]"
_REFERENCE_LACKS = "the reference proxier has no mode nftables; write kind: kube-proxy, or another mode"


def one_form(experiment: Experiment) -> Iterator[Finding]:
    """Find an experiment that names what is under test in both ways, or in none."""
    if experiment.subjects and experiment.modes:
        yield ("modes",), "modes is the short form of subjects, and both are written; keep one"
    if not experiment.subjects and not experiment.modes:
        yield (), f'"subjects" is missing; write subjects: {_EXAMPLE}, or modes: [iptables, ipvs]'


def owners(experiment: Experiment) -> Iterator[Finding]:
    """Find subjects of another kind of target: a cluster of the user's runs its own kube-proxy, a lab runs ours."""
    own = experiment.target.cluster is not None
    if own and experiment.modes:
        yield (
            ("modes",),
            "modes: target.cluster runs its own kube-proxy; write subjects: [{kind: cluster, mode: iptables}]",
        )
    for index, words in enumerate(experiment.subjects):
        is_own = isinstance(words, ClusterSubject)
        if own and not is_own:
            yield (
                ("subjects", index, "kind"),
                f"kind: target.cluster runs its own kube-proxy; write kind: cluster, not {words.kind}",
            )
        if is_own and not own:
            yield ("subjects", index, "kind"), "kind: cluster is the kube-proxy of target.cluster; write that, too"
        if is_own and (words.iptables or words.settings != type(words.settings)()):
            name = "iptables" if words.iptables else "settings"
            yield ("subjects", index, name), f"{name}: the cluster's own kube-proxy has its own; remove it"


def proxier(experiment: Experiment) -> Iterator[Finding]:
    """Find what ``proxier`` says and cannot mean."""
    words = experiment.proxier
    if words.kind is ProxierKind.DAEMONSET:
        yield (
            ("proxier", "kind"),
            "kind: daemonset is no kind of proxier; write subjects: [{kind: cluster, mode: iptables}]",
        )
    if words.min_sync_period > words.sync_period:
        yield longer(("proxier", "min_sync_period"), words.min_sync_period, "sync_period", words.sync_period)


def subjects(experiment: Experiment) -> Iterator[Finding]:
    """Find what subjects, or modes and proxier, say and cannot mean together."""
    if experiment.subjects and experiment.modes:
        return
    yield from _short_form(experiment)
    short = not experiment.subjects
    wrong = False
    for loc, words in entries(experiment):
        for finding in _one(experiment.proxier, loc, words, short=short):
            wrong = True
            yield finding
    if not wrong:
        yield from _twice(experiment)


def longer(loc: Loc, seconds: float, other: str, limit: float) -> Finding:
    """Return the finding that a duration (seconds) must not exceed another."""
    times = format_duration(seconds), format_duration(limit)
    return loc, f"{loc[-1]}: {times[0]} is longer than {other} ({times[1]}); make it shorter"


def _short_form(experiment: Experiment) -> Iterator[Finding]:
    words = experiment.proxier
    if experiment.subjects:
        if words.kind is not None:
            yield ("proxier", "kind"), "kind: each of subjects has its own; remove it"
        if words.version is not None:
            yield ("proxier", "version"), "version: each of subjects has its own; remove it"
    elif words.kind is ProxierKind.KUBE_PROXY and words.version is None:
        yield ("proxier",), "kind kube-proxy needs a version; write version: v1.37.2"
    elif words.kind is not ProxierKind.KUBE_PROXY and words.version is not None:
        yield ("proxier", "version"), "version: the reference proxier has none; remove it"


def _one(usual: ProxierSpec, loc: Loc, words: Words, *, short: bool) -> Iterator[Finding]:
    """Find what is wrong within one subject; of the short form nothing but modes can be."""
    modes = words.modes or ((words.mode,) if words.mode else ())
    if not short:
        yield from _modes_are_named(loc, words, modes)
        yield from _periods(usual, loc, words)
        if isinstance(words, KubeProxySubject):
            yield from _origin(loc, words)
            yield from _config(loc, words)
    for index, mode in enumerate(modes):
        at = loc if short else (*loc, "modes", index) if words.modes else (*loc, "mode")
        yield from ((at, message) for message in _mode(words, mode))


def _modes_are_named(loc: Loc, words: Words, modes: Sequence[Mode]) -> Iterator[Finding]:
    if words.mode and words.modes:
        yield (*loc, "modes"), "modes: mode is written too; keep one"
    if not modes:
        yield loc, f'"mode" is missing; write one of: mode: {", ".join(Mode)}'
    if words.iptables and modes and all(mode is Mode.NFTABLES for mode in modes):
        yield (*loc, "iptables"), "iptables: mode nftables does not run it; remove it"


def _periods(usual: ProxierSpec, loc: Loc, words: Words) -> Iterator[Finding]:
    own = words.settings
    least = usual.min_sync_period if own.min_sync_period is None else own.min_sync_period
    most = usual.sync_period if own.sync_period is None else own.sync_period
    if least > most and own != type(own)():
        yield longer((*loc, "settings", "min_sync_period"), least, "sync_period", most)


def _origin(loc: Loc, words: KubeProxySubject) -> Iterator[Finding]:
    written = [name for name in ("version", "path", "source") if getattr(words, name) is not None]
    if not written:
        yield loc, "kind kube-proxy needs one of version, path and source; write version: v1.37.2"
    for name in written[1:]:
        yield (*loc, name), f"{name}: {written[0]} is written too; keep one"


def _config(loc: Loc, words: KubeProxySubject) -> Iterator[Finding]:
    for keys, _ in leaves(words.config):
        advice = RESERVED.get(keys) or RESERVED.get(keys[:1])
        if advice:
            yield (*loc, "config", *keys), f"{'.'.join(keys)}: {advice}"


def _mode(words: Words, mode: Mode) -> Iterator[str]:
    if isinstance(words, ReferenceSubject) and mode is Mode.NFTABLES:
        yield _REFERENCE_LACKS
    if not isinstance(words, KubeProxySubject):
        return
    if words.otherwise == "reference" and mode is Mode.NFTABLES:
        yield "otherwise: the reference proxier has no mode nftables; write otherwise: skip, or another mode"
    if words.version is None:
        return
    version = KubeVersion.parse(words.version)
    if version < _OLDEST:
        yield f"kube-proxy {version} is older than what can be configured; write v{_OLDEST}.0 or newer"
        return
    verdict = mode_in(mode, version)
    if not verdict.able:
        yield f"kube-proxy {version} has no mode {mode}: {verdict.note}"


def _twice(experiment: Experiment) -> Iterator[Finding]:
    """Find subjects whose numbers could not be told apart."""
    seen: dict[Subject, Loc] = {}
    for loc, request in placed(experiment, Path()):
        for subject in (request.subject, *((request.otherwise.subject,) if request.otherwise else ())):
            if subject not in seen:
                seen[subject] = loc
                continue
            number = int(seen[subject][-1]) + 1
            which = "in itself" if seen[subject] == loc else f"as number {number}"
            yield loc, f"{subject.label} is there already, {which}; change a setting, give it a name, or remove it"
