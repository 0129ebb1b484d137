"""The driver of any other Service proxy: the commands of the experiment file, run on the node."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Final

from proxybench.errors import ProxierError, UsageError
from proxybench.experiment.requests import Commands, fill
from proxybench.experiment.words import format_duration
from proxybench.releases.inspect import first_line
from proxybench.subjects.bundle import Bundle
from proxybench.subjects.driver import ProxyMetrics
from proxybench.subjects.kube_proxy_config import credentials
from proxybench.subjects.node_checks import check_node
from proxybench.subjects.path_links import cleanup_folder, environment, path_links, variables
from proxybench.subjects.process import NodeProcess, Program, RunningProgram, proxy_folder
from proxybench.subjects.proxy_log import log_tail

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from proxybench.deadline import Deadline
    from proxybench.experiment.requests import SubjectSpec
    from proxybench.hosts.base import Completed
    from proxybench.nodes.cluster import Cluster
    from proxybench.nodes.node import NodeHandle
    from proxybench.subjects.driver import Capability, RunningProxy, SyncRecord
    from proxybench.subjects.inventory import Inventory
    from proxybench.subjects.removals import Part
    from proxybench.units import Clock

_ASK_LIMIT: Final = 30.0
_CLEANUP_LIMIT: Final = 300.0


class CommandDriver:
    """Implements ProxyDriver. ``ask_version`` runs a command on this machine and returns what it prints first."""

    def __init__(self, clock: Clock, ask_version: Callable[[Sequence[str]], str] = first_line) -> None:
        self._clock = clock
        self._ask_version = ask_version

    def resolve(self, spec: SubjectSpec) -> SubjectSpec:
        """Return it with the version that its command prints on this machine, "" without one. Raises UsageError."""
        version = _commands(spec).version
        told = self._ask_version(version) if version else ""
        return replace(spec, subject=replace(spec.subject, version=told))

    def source(self, spec: SubjectSpec) -> str:
        """Name the program that ``start`` runs."""
        return f"command {_commands(spec).start[0]}"

    def check(self, spec: SubjectSpec, handle: NodeHandle) -> Capability:
        """Say whether the node has what the mode needs."""
        return check_node(spec.mode, spec.iptables, handle)

    def prepare(self, spec: SubjectSpec) -> None:
        """Do nothing: each node is made ready as it starts there."""

    def start(self, spec: SubjectSpec, handle: NodeHandle, cluster: Cluster) -> RunningProxy:
        """Start it. Raises ProxierError and HostError."""
        folder = proxy_folder(handle)
        values = _values(spec, handle, folder, cluster.cluster_cidr)
        program = Program(
            what=dict(spec.subject.settings).get("name", spec.subject.kind),
            argv=fill(_commands(spec).start, values),
            bundle=Bundle(credentials(cluster.api, folder), path_links(handle, spec.iptables)),
            tail=log_tail,
            env=environment(folder),
            good_ends=None,
        )
        return CommandProxy(NodeProcess.start(program, handle), _NodeCommands(spec, handle, values), self._clock)

    def cleanup(self, spec: SubjectSpec, handle: NodeHandle) -> None:
        """Run ``cleanup``, if there is one, and wait until ``clean`` agrees. Raises ProxierError when it does not."""
        commands = _commands(spec)
        folder = cleanup_folder(handle, spec.iptables)
        asked = _NodeCommands(spec, handle, _values(spec, handle, folder, ""))
        if commands.cleanup:
            asked.run(commands.cleanup, _CLEANUP_LIMIT)
        if commands.clean and (ended := asked.run(commands.clean, _ASK_LIMIT)).code != 0:
            raise ProxierError(f"{handle.name}: clean ended with {ended.code} after the clean-up: {_words(ended)}")


class CommandProxy(RunningProgram):
    """Implements RunningProxy. It has no figures of its own but whether a change waits to be made."""

    _poll_s: ClassVar = 0.1

    def __init__(self, process: NodeProcess, asked: _NodeCommands, clock: Clock) -> None:
        super().__init__(process, clock)
        self._asked = asked

    def wait_ready(self, deadline: Deadline, limit_s: float) -> None:
        """Ask ``ready`` until it ends with 0. Raises ProxierError with the log's tail."""

        def missing() -> str:
            code = self._asked.run(self._asked.commands.ready, deadline.left(_ASK_LIMIT)).code
            return f"ready ended with {code}" if code else ""

        self._wait_while(missing, "was not ready", deadline, limit_s)

    def metrics(self) -> ProxyMetrics:
        """Return no syncs, and one pending change while ``synced`` does not end with 0."""
        self._process.check_running()
        synced = self._asked.commands.synced
        pending = 1 if synced and self._asked.run(synced, _ASK_LIMIT).code != 0 else 0
        return ProxyMetrics(sync_sum=0.0, sync_count=0, pending=pending)

    def rule_ranks(self) -> Mapping[str, int] | None:
        """Return None: nothing is known of its rules' order."""
        return None

    def node_port_ranks(self) -> Mapping[str, int]:
        """Return nothing, as of the others."""
        return {}

    def endpoint_places(self, vip: str) -> Mapping[str, int]:  # noqa: ARG002 - as its like
        """Return nothing, as of the others."""
        return {}

    def syncs(self) -> tuple[SyncRecord, ...]:
        """Return nothing: nothing is known of its log."""
        return ()

    def inventory(self) -> Inventory | None:
        """Return None: nothing is known of its rules."""
        return None

    def removal(self, part: Part, vip: str, port: int) -> tuple[str, ...] | None:  # noqa: ARG002 - nothing is known
        """Return None: nothing is known of its rules."""
        return None

    def stop(self, limit_s: float) -> None:
        """Run ``stop`` if there is one, then end it and all its children. Raises ProxierError when it was killed.

        Any end is good then, but not one that came before.
        """
        try:
            self.check()
        finally:
            if self._asked.commands.stop:
                self._asked.run(self._asked.commands.stop, limit_s)
            self._process.stop(limit_s)

    def files(self) -> Mapping[str, str]:
        """Return the commands as they were run."""
        return {"commands.txt": self._asked.text()}


class _NodeCommands:
    """The commands of a subject, filled in for a node, and run there beside the proxy."""

    def __init__(self, spec: SubjectSpec, handle: NodeHandle, values: Mapping[str, str]) -> None:
        self.commands = _commands(spec)
        self._handle = handle
        self._values = values

    def run(self, argv: Sequence[str], limit_s: float) -> Completed:
        """Run one and return how it ended, whatever the code. Raises HostError."""
        whole = ["env", *variables(self._values["workdir"]), *fill(argv, self._values)]
        return self._handle.executor.run(whole, check=False, timeout=limit_s)

    def text(self) -> str:
        """Return them as one line each."""
        named = vars(self.commands).items()
        return "".join(f"{name}: {' '.join(fill(argv, self._values))}\n" for name, argv in named if argv)


def _commands(spec: SubjectSpec) -> Commands:
    if spec.commands is None:
        raise UsageError(f"{spec.subject.label}: has no commands; write start and ready")
    return spec.commands


def _values(spec: SubjectSpec, handle: NodeHandle, folder: str, cluster_cidr: str) -> Mapping[str, str]:
    return {
        "kubeconfig": f"{folder}/kubeconfig",
        "node": handle.name,
        "address": handle.node.address,
        "mode": str(spec.mode),
        "workdir": folder,
        "cluster_cidr": cluster_cidr,
        "min_sync_period": format_duration(spec.min_sync_period),
        "sync_period": format_duration(spec.sync_period),
    }


def _words(ended: Completed) -> str:
    return " | ".join((ended.stderr.strip() or ended.stdout.strip()).splitlines()[-3:]) or "it printed nothing"
