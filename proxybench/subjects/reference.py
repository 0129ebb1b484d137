"""The driver of the reference proxier: our own control loop, run on a node by the node's agent."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

import refproxy
from proxybench.errors import AgentError, ProxierError, UsageError
from proxybench.hosts.batch import run_together
from proxybench.model import Mode
from proxybench.nodes.kernel_state import LOOK_SECONDS, found, read_all, usual_readings
from proxybench.subjects.base import LoopFigures
from proxybench.subjects.bundle import Bundle
from proxybench.subjects.driver import Capability
from proxybench.subjects.node_checks import check_node, iptables_program
from proxybench.subjects.process import NodeProcess, Program, proxy_folder
from proxybench.subjects.proxy_metrics import parse_metrics
from proxybench.subjects.serving import HEALTHZ_PORT, METRICS_PORT, Served, ServingProxy
from proxybench.units import NS_PER_S
from refproxy.config import LoopConfig, dump

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from proxybench.experiment.requests import SubjectSpec
    from proxybench.hosts.base import Completed, Executor
    from proxybench.nodes.cluster import Cluster
    from proxybench.nodes.kernel_state import Reading
    from proxybench.nodes.node import Node, NodeHandle
    from proxybench.subjects.base import ProxierConfig
    from proxybench.subjects.driver import RunningProxy
    from proxybench.units import Clock

_OK = 200
_POLL_SECONDS = 0.05
_LOG_LINES = 5
_NO_NFTABLES = "the reference proxier has no nftables mode"
_OTHER_KIND = "measure it with `kind: kube-proxy`"
_ENV = {"PYTHONHASHSEED": "0"}  # else every start has another order of hashing, and another count of instructions

# $1 folder; standard input: the token's line, then the configuration. Old files are removed since writing into them
# would keep their mode; the shell writes the token itself, since arguments of programs are there for all to see.
_PREPARE_SCRIPT = (
    'umask 077; mkdir -p -- "$1" && cd -- "$1" && rm -f token config.json log && '
    "IFS= read -r token && printf '%s\\n' \"$token\" > token && cat > config.json && : > log"
)


class Started(Protocol):
    """A program that was started: its process id, and the node's monotonic ns of that moment."""

    @property
    def pid(self) -> int: ...  # noqa: D102 - said above

    @property
    def at_ns(self) -> int: ...  # noqa: D102 - said above


class Life(Protocol):
    """Whether a program runs, else its exit code."""

    @property
    def alive(self) -> bool: ...  # noqa: D102 - said above

    @property
    def code(self) -> int | None: ...  # noqa: D102 - said above


class End(Protocol):
    """How a program ended: its exit code, and whether it had to be killed."""

    @property
    def code(self) -> int | None: ...  # noqa: D102 - said above

    @property
    def killed(self) -> bool: ...  # noqa: D102 - said above


class Response(Protocol):
    """An HTTP answer."""

    @property
    def status(self) -> int: ...  # noqa: D102 - said above

    @property
    def body(self) -> str: ...  # noqa: D102 - said above


class NodeAgent(Protocol):
    """What the driver asks of a node's agent; ``proxybench.nodes.client.AgentClient`` is one."""

    def spawn(
        self,
        argv: Sequence[str],
        *,
        log: str,
        cgroup: str | None = None,
        env: Mapping[str, str] | None = None,
        grace_s: float = 10.0,
    ) -> Started:
        """Start a program in a cgroup, its output at the end of ``log``."""
        ...

    def alive(self, pid: int) -> Life:
        """Ask whether it runs."""
        ...

    def stop(self, pid: int, timeout_s: float = 10.0) -> End:
        """End it: SIGTERM, after the time SIGKILL; forget it."""
        ...

    def http_get(self, url: str, *, timeout_s: float = 10.0, max_bytes: int = 1 << 24) -> Response:
        """Read a URL as the node sees it; raise AgentError when nothing answers."""
        ...


class ReferenceProxier:
    """Implements Proxier with ``python -m refproxy`` on one node.

    It writes into the folder ``control-loop`` of the node's work folder: configuration, log, and the API's token in
    a file that only its owner can read. Commands are put together where they can be, since each exec on an emulated
    node takes a good part of a second.
    """

    def __init__(self, agent: NodeAgent, executor: Executor, node: Node, cluster: Cluster, clock: Clock) -> None:
        self._agent = agent
        self._executor = executor
        self._node = node
        self._cluster = cluster
        self._clock = clock
        self._folder = f"{node.workdir}/control-loop"
        self._pid: int | None = None
        self._mode: Mode | None = None
        self._before: frozenset[str] = frozenset()
        self._log: str | None = None  # what stop() read
        self._looks: list[Completed] | None = None

    @property
    def cgroup(self) -> str:
        """The cgroup v2 folder on the node that holds the control loop and its children."""
        return f"{self._node.cgroup_root}/control-loop"

    def start(self, config: ProxierConfig) -> int:
        """Start it and return the node's monotonic ns of that moment. Raises ProxierError."""
        if self._pid is not None:
            raise ProxierError(f"{self._node.name}: the control loop runs already")
        self._mode = config.mode
        self._log = self._looks = None
        self._before = read_all(self._executor, self._readings())
        folder = self._folder
        self._executor.run(
            ["sh", "-c", _PREPARE_SCRIPT, "prepare", folder],
            stdin=f"{self._cluster.api.token}\n{dump(self._settings(config)).decode()}",
        )
        self._executor.put(self._cluster.api.ca_pem.encode(), f"{folder}/ca.pem")
        argv = [self._node.python, "-m", "refproxy", "--config"]
        try:
            started = self._agent.spawn(
                [*argv, f"{folder}/config.json"], log=f"{folder}/log", cgroup=self.cgroup, env=_ENV, grace_s=60.0
            )
        except AgentError as error:
            self._executor.run(["rm", "-f", f"{folder}/token"], check=False)
            raise ProxierError(f"{self._node.name}: the control loop could not be started: {error}") from error
        self._pid = started.pid
        return started.at_ns

    def ready(self, timeout: float) -> None:
        """Wait until it reports a finished first sync. Raises ProxierError with the log's tail."""
        deadline = self._clock.monotonic_ns() + int(timeout * NS_PER_S)
        while not self._healthy():
            life = self._agent.alive(self._running())
            if not life.alive:
                raise ProxierError(f"{self._node.name}: the control loop ended with {life.code}: {self._tail()}")
            if self._clock.monotonic_ns() >= deadline:
                raise ProxierError(f"{self._node.name}: no first sync within {timeout:g} s: {self._tail()}")
            self._clock.sleep(_POLL_SECONDS)

    def figures(self) -> LoopFigures:
        """Read its metrics. Raises ProxierError when they cannot be read."""
        self._running()
        try:
            response = self._agent.http_get(f"http://127.0.0.1:{METRICS_PORT}/metrics")
        except AgentError as error:
            raise ProxierError(f"{self._node.name}: no metrics: {error}") from error
        if response.status != _OK:
            raise ProxierError(f"{self._node.name}: no metrics: HTTP {response.status}")
        return parse_figures(response.body)

    def stop(self, timeout: float) -> None:
        """Stop it and wait until what it made is gone; raise ProxierError when it did not end by itself.

        Does nothing when it does not run. After it ``log`` and ``leftovers`` answer from what it read.
        """
        if self._pid is None:
            return
        pid, self._pid = self._pid, None
        end = self._agent.stop(pid, timeout)
        commands = [["rm", "-f", f"{self._folder}/token"], ["cat", f"{self._folder}/log"]]
        looks = [reading.argv for reading in self._readings()]
        removed, log, *self._looks = run_together(self._executor, [*commands, *looks], timeout=LOOK_SECONDS)
        self._log = log.stdout if log.code == 0 else None
        if end.killed:
            raise ProxierError(f"{self._node.name}: the control loop did not end within {timeout:g} s: {self._tail()}")
        if end.code != 0:
            raise ProxierError(f"{self._node.name}: the control loop ended with {end.code}: {self._tail()}")
        if removed.code != 0:
            raise ProxierError(f"{self._node.name}: the token could not be removed: {removed.stderr.strip()}")

    def leftovers(self) -> tuple[str, ...]:
        """Return what is in the node's kernel and was not before ``start``, one line each, sorted.

        After ``stop`` that is what was there when it had ended, before it what is there now.
        """
        if self._mode is None:
            return ()
        readings = self._readings()
        if self._looks is None:
            return tuple(sorted(read_all(self._executor, readings) - self._before))
        return tuple(sorted(found(self._node.name, readings, self._looks) - self._before))

    def log(self) -> str:
        """Return the log of the last start: the whole one after ``stop``, before it what is written so far."""
        if self._log is not None:
            return self._log
        return self._executor.get(f"{self._folder}/log").decode(errors="replace")

    def _settings(self, config: ProxierConfig) -> LoopConfig:
        cluster = self._cluster
        return LoopConfig(
            mode=str(config.mode),
            node_name=self._node.name,
            node_ips=(self._node.address,),
            api_url=cluster.api.node_url,
            token_file=f"{self._folder}/token",
            cluster_cidr=cluster.cluster_cidr,
            min_sync_period=config.min_sync_period,
            sync_period=config.sync_period,
            iptables=self._node.iptables["legacy"],
            metrics_port=METRICS_PORT,
            healthz_port=HEALTHZ_PORT,
            ca_file=f"{self._folder}/ca.pem",
        )

    def _readings(self) -> tuple[Reading, ...]:
        return usual_readings(self._node.iptables["legacy"], ipvs=self._mode is Mode.IPVS)

    def _running(self) -> int:
        if self._pid is None:
            raise ProxierError(f"{self._node.name}: the control loop was not started")
        return self._pid

    def _healthy(self) -> bool:
        try:
            return self._agent.http_get(f"http://127.0.0.1:{HEALTHZ_PORT}/healthz").status == _OK
        except AgentError:
            return False  # it does not listen yet

    def _tail(self) -> str:
        return _tail(self.log())


def reference_proxies(handles: Sequence[NodeHandle], cluster: Cluster, clock: Clock) -> tuple[ReferenceProxier, ...]:
    """Return the reference proxier of each node, not started."""
    return tuple(ReferenceProxier(handle.agent, handle.executor, handle.node, cluster, clock) for handle in handles)


def _said(line: str) -> str:
    """Return the error of a logged event in its own words; any other line as it is."""
    with contextlib.suppress(ValueError):
        event = json.loads(line)
        if isinstance(event, dict) and isinstance(event.get("error"), str):
            return str(event["error"])
    return line


def _tail(log: str) -> str:
    return " | ".join(map(_said, log.strip().splitlines()[-_LOG_LINES:])) or "it wrote no log"


def parse_figures(text: str) -> LoopFigures:
    """Read the totals of ``proxy_metrics.parse_metrics`` as the old seam's figures. Raises ProxierError."""
    found = parse_metrics(text)
    return LoopFigures(
        sync_sum=found.sync_sum,
        sync_count=found.sync_count,
        programming_sum=found.programming_sum,
        programming_count=found.programming_count,
        build=found.build,
        tool=found.tool,
        kernel=found.kernel,
        wait=found.wait,
        relay_cpu=found.relay_cpu,
        pending=found.pending,
    )


class ReferenceDriver:
    """Implements ProxyDriver with ``python -m refproxy``: our own control loop, frozen, a self-test of the harness.

    It removes what it made when it is told to stop, and has no clean-up besides.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def resolve(self, spec: SubjectSpec) -> SubjectSpec:
        """Return it with refproxy's version. Raises UsageError for a mode that it has not."""
        if spec.mode is Mode.NFTABLES:
            raise UsageError(f"{_NO_NFTABLES}; {_OTHER_KIND}")
        return replace(spec, subject=replace(spec.subject, version=refproxy.__version__))

    def check(self, spec: SubjectSpec, handle: NodeHandle) -> Capability:
        """Say whether the node has what the mode needs."""
        if spec.mode is Mode.NFTABLES:
            return Capability(supported=False, reason=_NO_NFTABLES, fix=_OTHER_KIND)
        return check_node(spec.mode, spec.iptables, handle)

    def start(self, spec: SubjectSpec, handle: NodeHandle, cluster: Cluster) -> RunningProxy:
        """Start it. Raises ProxierError and HostError."""
        config = _config(spec, handle, cluster)
        text = dump(config).decode()
        program = Program(
            what="the reference proxier",
            argv=(handle.node.python, "-m", "refproxy", "--config", f"{proxy_folder(handle)}/config.json"),
            bundle=Bundle({"token": cluster.api.token + "\n", "ca.pem": cluster.api.ca_pem, "config.json": text}),
            tail=_tail,
            env=_ENV,
        )
        process = NodeProcess.start(program, handle)
        served = Served(spec.mode, config.iptables, files={"refproxy.json": text})
        return ServingProxy(process, served, self._clock)

    def cleanup(self, spec: SubjectSpec, handle: NodeHandle) -> None:
        """Do nothing: what it made is gone when it has ended; what a crash left is the harness's to remove."""


def _config(spec: SubjectSpec, handle: NodeHandle, cluster: Cluster) -> LoopConfig:
    folder = proxy_folder(handle)
    return LoopConfig(
        mode=str(spec.mode),
        node_name=handle.name,
        node_ips=(handle.node.address,),
        api_url=cluster.api.node_url,
        token_file=f"{folder}/token",
        cluster_cidr=cluster.cluster_cidr,
        min_sync_period=spec.min_sync_period,
        sync_period=spec.sync_period,
        iptables=iptables_program(handle, spec.iptables or "legacy"),
        ca_file=f"{folder}/ca.pem",
    )
