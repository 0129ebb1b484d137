"""The driver of kube-proxy: any release, file or checkout, in any mode that it has."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

from proxybench.errors import ProxierError
from proxybench.model import Family, Mode
from proxybench.subjects.bundle import Bundle
from proxybench.subjects.driver import Capability
from proxybench.subjects.kube_proxy_binary import MACHINES, find_binary, install_binary
from proxybench.subjects.kube_proxy_config import credentials, render_config
from proxybench.subjects.mode_check import check_mode
from proxybench.subjects.node_checks import check_files, check_node
from proxybench.subjects.path_links import cleanup_folder, environment, path_links, variables
from proxybench.subjects.process import NodeProcess, Program, proxy_folder
from proxybench.subjects.proxy_log import log_tail
from proxybench.subjects.serving import Served, ServingProxy

if TYPE_CHECKING:
    from pathlib import Path

    from proxybench.experiment.requests import SubjectSpec
    from proxybench.hosts.base import Executor
    from proxybench.nodes.cluster import Cluster
    from proxybench.nodes.node import NodeHandle
    from proxybench.releases.store import Binary
    from proxybench.subjects.driver import RunningProxy
    from proxybench.subjects.kube_proxy_binary import Binaries
    from proxybench.units import Clock

WHAT: Final = "kube-proxy"
_VERBOSITY: Final = "--v=2"  # the syncs' lines; more would cost time that users do not pay
_MANY_FILES: Final = ("sh", "-c", 'ulimit -n 262144; exec "$@"', WHAT)
"""Runs it with enough files: userspace mode listens on a port of its own for every Service."""
_SYNCS_IN_LOG: Final = ("--vmodule=proxier=4",)
"""Userspace mode has no metrics of its syncs and logs them at this level; of its connections it says nothing more."""
_CLEANUP_LIMIT: Final = 300.0  # removing ten thousand Services' rules, under emulation
_TERMINATED: Final = -15  # it has no handler for SIGTERM

_Origin = tuple["Path | None", "Path | None", str]


class KubeProxyDriver:
    """Implements ProxyDriver. A binary is found once per run, and looked for once on each node."""

    def __init__(self, binaries: Binaries, clock: Clock) -> None:
        self._binaries = binaries
        self._clock = clock
        self._found: dict[_Origin, Binary] = {}
        # By the executor, since a new connection may lead to a new node.
        self._installed: WeakKeyDictionary[Executor, dict[str, str]] = WeakKeyDictionary()

    def resolve(self, spec: SubjectSpec) -> SubjectSpec:
        """Return it with the version that the binary tells. Raises UsageError and what getting a release raises."""
        binary = self._found.get(_origin(spec)) or find_binary(spec, self._binaries)
        found = replace(spec, subject=replace(spec.subject, version=binary.version))
        self._found[_origin(spec)] = self._found[_origin(found)] = binary
        return found

    def source(self, spec: SubjectSpec) -> str:
        """Say where the binary came from, what built it here, and how its SHA-512 begins."""
        binary = self._binary(spec)
        built = f", built with {binary.go}" if binary.go else ""
        return f"{binary.source}{built} (SHA-512 {binary.sha512[:16]}…)"

    def check(self, spec: SubjectSpec, handle: NodeHandle) -> Capability:
        """Say whether this version has the mode, and the node what it needs."""
        mode = check_mode(spec.mode, spec.subject.version)
        if not mode.supported:
            return mode
        machine = handle.executor.run(["uname", "-m"]).stdout.strip()
        arch, built_for = MACHINES.get(machine, machine), self._binary(spec).arch
        if arch != built_for:
            reason = f"{handle.name}: this kube-proxy is built for {built_for}, the node is {arch}"
            return Capability(supported=False, reason=reason, fix=f"give a kube-proxy that is built for {arch}")
        if spec.mode is Mode.USERSPACE and not (files := check_files(handle)).supported:
            return files
        return check_node(spec.mode, spec.iptables, handle)

    def prepare(self, spec: SubjectSpec) -> None:
        """Do nothing: each node is made ready as it starts there."""

    def start(self, spec: SubjectSpec, handle: NodeHandle, cluster: Cluster) -> RunningProxy:
        """Start it, with its configuration, kubeconfig and PATH. Raises ProxierError and HostError."""
        folder = proxy_folder(handle)
        config = render_config(spec, handle.node, cluster, f"{folder}/kubeconfig")
        links = path_links(handle, spec.iptables)
        files = {**credentials(cluster.api, folder), "config.yaml": config}
        userspace = spec.mode is Mode.USERSPACE
        program = Program(
            what=WHAT,
            argv=(
                *(_MANY_FILES if userspace else ()),
                self._install(spec, handle),
                f"--config={folder}/config.yaml",
                _VERBOSITY,
                *(_SYNCS_IN_LOG if userspace else ()),
            ),
            bundle=Bundle(files, links),
            tail=log_tail,
            env=environment(folder),
            good_ends=frozenset({0, _TERMINATED}),
        )
        process = NodeProcess.start(program, handle)
        served = Served(
            spec.mode,
            links.get("bin/iptables", ""),
            logs_syncs=True,
            counts_syncs=not userspace,
            files={"kube-proxy.yaml": config},
            families=tuple(Family) if cluster.cluster_cidr6 else (Family.IPV4,),
        )
        return ServingProxy(process, served, self._clock)

    def cleanup(self, spec: SubjectSpec, handle: NodeHandle) -> None:
        """Run ``kube-proxy --cleanup`` with the same iptables; it ends with an error whenever it left something.

        Raises HostError when it does not end in time.
        """
        folder = cleanup_folder(handle, spec.iptables)
        argv = ["env", *variables(folder), self._install(spec, handle), "--cleanup", _VERBOSITY]
        handle.executor.run(argv, check=False, timeout=_CLEANUP_LIMIT)

    def _binary(self, spec: SubjectSpec) -> Binary:
        try:
            return self._found[_origin(spec)]
        except KeyError:
            raise ProxierError(f"{spec.subject.label}: was not resolved before it was started") from None

    def _install(self, spec: SubjectSpec, handle: NodeHandle) -> str:
        binary = self._binary(spec)
        places = self._installed.setdefault(handle.executor, {})
        if binary.sha512 not in places:
            places[binary.sha512] = install_binary(binary, handle)
        return places[binary.sha512]


def _origin(spec: SubjectSpec) -> _Origin:
    return spec.path, spec.source, spec.subject.version
