"""The driver of a cluster's own kube-proxy: found on the node, watched, never started or stopped by us."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from proxybench.errors import ProxierError, UnavailableError, UsageError
from proxybench.experiment.compat import KubeVersion, mode_in
from proxybench.experiment.subjects import Backend
from proxybench.model import Mode
from proxybench.subjects.attached import WHAT, AttachedProcess
from proxybench.subjects.driver import Capability
from proxybench.subjects.mode_check import check_mode
from proxybench.subjects.process import get
from proxybench.subjects.proxy_log import parse_go_duration
from proxybench.subjects.rule_ranks import WALKED_CHAINS, list_argv
from proxybench.subjects.serving import METRICS_PORT, Served, ServingProxy
from proxybench.units import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from proxybench.experiment.requests import SubjectSpec
    from proxybench.nodes.cluster import Cluster
    from proxybench.nodes.node import NodeHandle
    from proxybench.subjects.driver import RunningProxy
    from proxybench.units import Clock

_BUILD: Final = re.compile(r'^kubernetes_build_info\{[^}]*git_version="(v[^"]+)"', re.MULTILINE)
_LEGACY_TABLES: Final = "/proc/net/ip_tables_names"
_GROUP: Final = "kubeproxy.config.k8s.io"
# A controller of the cluster removes the Endpoints that such a kube-proxy reads as soon as their Service goes.
NO_USERSPACE: Final = (
    "its userspace mode is not measured, since it counts no syncs and reads Endpoints, which the cluster's own "
    "controllers write; the lab measures it, with kind: kube-proxy"
)


@dataclass(frozen=True)
class ProxyFacts:
    """What a running kube-proxy says of itself.

    ``periods``: of each mode the least time between two syncs and that after which a full one comes, in seconds; those
    of the running mode where it does not say them of another one.
    ``config`` is its configuration as JSON.
    """

    version: str
    mode: Mode
    periods: Mapping[Mode, tuple[float, float]]
    config: str


def read_facts(handle: NodeHandle) -> ProxyFacts:
    """Ask the node's kube-proxy for its version, mode and configuration. Raises ProxierError, HostError."""
    mode = get(handle, WHAT, METRICS_PORT, "/proxyMode").strip()
    if mode not in set(Mode):
        raise ProxierError(f"{handle.name}: kube-proxy runs in {mode} mode, which is not known here")
    build = _BUILD.search(get(handle, WHAT, METRICS_PORT, "/metrics"))
    config = get(handle, WHAT, METRICS_PORT, "/configz")
    try:
        words = json.loads(config)[_GROUP]
        own = _periods(words, Mode(mode)) or _found(words)
        periods = {one: _periods(words, one) or own for one in Mode}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ProxierError(f"{handle.name}: /configz of kube-proxy cannot be read: {error}") from error
    if own is None:
        raise ProxierError(f"{handle.name}: /configz of kube-proxy does not say the sync periods of {mode} mode")
    known = {one: found for one, found in periods.items() if found is not None}
    text = json.dumps(words, indent=2, sort_keys=True) + "\n"
    return ProxyFacts(build[1] if build else "", Mode(mode), known, text)


def _periods(words: Mapping[str, object], mode: Mode) -> tuple[float, float] | None:
    """Return what a mode's section says; since 1.36 only that of the running mode is filled."""
    lower = {name.lower(): value for name, value in words.items()}
    section = lower.get(mode.replace("userspace", "iptables"))
    return _found(section) if isinstance(section, dict) else None


def _found(section: Mapping[str, object]) -> tuple[float, float] | None:
    """Read both periods, None where they are not said. 1.36 and later write v1alpha1, older ones Go's own names."""
    lower = {name.lower(): value for name, value in section.items()}
    least, most = _seconds(lower.get("minsyncperiod")), _seconds(lower.get("syncperiod"))
    return (least, most) if most else None


def _seconds(written: object) -> float:
    return parse_go_duration(written) / NS_PER_S if isinstance(written, str) else 0.0


class ClusterDriver:
    """Implements ProxyDriver. ``look`` asks the measured node's kube-proxy; None where no cluster is measured.

    ``switch`` makes the whole cluster run in a mode, from an image ("" for its own); None where it is only watched.
    """

    def __init__(
        self,
        clock: Clock,
        look: Callable[[], ProxyFacts] | None = None,
        switch: Callable[[Mode, str], None] | None = None,
    ) -> None:
        self._clock = clock
        self._look = look
        self._switch = switch
        self._facts: ProxyFacts | None = None

    def resolve(self, spec: SubjectSpec) -> SubjectSpec:
        """Return it with its version, and its periods as far as they are known before it runs so.

        Raises UnavailableError for a mode or an image in which it does not run, and for userspace mode.
        """
        facts = self._known()
        if spec.mode is Mode.USERSPACE:
            raise UnavailableError(f"the cluster's kube-proxy {facts.version}: {NO_USERSPACE}")
        if (spec.mode is not facts.mode or spec.image) and self._switch is None:
            asked = f"not of {spec.image}" if spec.image else f"in {facts.mode} mode"
            why = f"it runs {asked}, and nothing is switched without --allow-switch"
            raise UnavailableError(f"the cluster's kube-proxy {facts.version}: {why}")
        least, most = facts.periods[spec.mode]
        subject = replace(spec.subject, version=spec.subject.version if spec.image else facts.version)
        return replace(spec, subject=subject, min_sync_period=least, sync_period=most)

    def source(self, spec: SubjectSpec) -> str:
        """Say that it is the cluster's."""
        if spec.image:
            return f"runs in the cluster, switched to {spec.image}"
        switched = ", switched to this mode" if spec.mode is not self._known().mode else ""
        return f"runs in the cluster{switched}"

    def check(self, spec: SubjectSpec, handle: NodeHandle) -> Capability:
        """Say whether this version has the mode, with the feature gates of the cluster's configuration."""
        del handle
        facts, found = self._facts, check_mode(spec.mode, spec.subject.version)
        gate = mode_in(spec.mode, KubeVersion.of_release(spec.subject.version)).gate
        is_switched = facts is not None and (spec.mode is not facts.mode or bool(spec.image))
        if facts is None or not gate or not is_switched or _is_open(gate, facts.config):
            return found
        what = f"kube-proxy {spec.subject.version} has {spec.mode} mode behind the feature gate {gate}"
        return Capability(
            supported=False,
            reason=f"{what}, which its configuration does not set",
            fix=f"write featureGates: {{{gate.replace('=', ': ')}}} there, beside its mode of now",
        )

    def prepare(self, spec: SubjectSpec) -> None:
        """Have all nodes switched to its mode and image, if that is allowed. Raises as ``Switcher.to`` does."""
        if self._switch is not None:
            self._switch(spec.mode, spec.image)

    def start(self, spec: SubjectSpec, handle: NodeHandle, cluster: Cluster) -> RunningProxy:
        """Find it. Raises ProxierError and HostError."""
        del cluster
        process = AttachedProcess.attach(handle)
        facts = read_facts(handle)
        served = Served(
            facts.mode,
            _iptables(spec.mode, handle),
            logs_syncs=True,
            files={"kube-proxy.json": facts.config},
            runs_already=True,
            periods=facts.periods[facts.mode],
        )
        if facts.mode is not spec.mode:
            raise ProxierError(f"{handle.name}: kube-proxy runs in {facts.mode} mode now, not in {spec.mode} mode")
        if spec.image and KubeVersion.of_release(facts.version) != KubeVersion.of_release(spec.subject.version):
            raise ProxierError(f"{handle.name}: kube-proxy of {spec.image} says that it is {facts.version}")
        return ServingProxy(process, served, self._clock)

    def cleanup(self, spec: SubjectSpec, handle: NodeHandle) -> None:
        """Remove nothing: its rules carry the cluster's traffic."""

    def _known(self) -> ProxyFacts:
        if self._look is None:
            raise UsageError("kind: cluster is the kube-proxy of target.cluster; write that, too")
        if self._facts is None:
            self._facts = self._look()
        return self._facts


def _is_open(gate: str, config: str) -> bool:
    """Tell whether a configuration, as JSON, sets a feature gate ("Name=true"), itself or with all that are alpha."""
    name = gate.partition("=")[0]
    words = {key.lower(): value for key, value in json.loads(config).items()}
    gates = words.get("featuregates") or {}
    return bool(gates.get(name, gates.get("AllAlpha", False)))


def _iptables(mode: Mode, handle: NodeHandle) -> str:
    """Return the node's program of iptables that sees the rules which the kernel walks; "" where none does.

    The legacy one would load a table that is not there: with its hooks, and for as long as the node is up.
    """
    chain = WALKED_CHAINS.get(mode)
    if chain is None:
        return ""
    loaded = (handle.agent.read((_LEGACY_TABLES,))[_LEGACY_TABLES] or "").split()
    for backend, program in handle.node.iptables.items():
        if backend == Backend.LEGACY and "nat" not in loaded:
            continue
        if handle.executor.run(list_argv(program, chain), check=False, timeout=120).code == 0:
            return program
    return ""
