"""The driver of the reference proxier: our own control loop, run on a node by the node's agent."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING

import refproxy
from proxybench import __version__
from proxybench.errors import UsageError
from proxybench.model import Mode
from proxybench.subjects.bundle import Bundle
from proxybench.subjects.driver import Capability
from proxybench.subjects.node_checks import check_node, iptables_program
from proxybench.subjects.process import NodeProcess, Program, proxy_folder
from proxybench.subjects.serving import Served, ServingProxy
from refproxy.config import LoopConfig, dump

if TYPE_CHECKING:
    from proxybench.experiment.requests import SubjectSpec
    from proxybench.nodes.cluster import Cluster
    from proxybench.nodes.node import NodeHandle
    from proxybench.subjects.driver import RunningProxy
    from proxybench.units import Clock

_LOG_LINES = 5
_NO_NFTABLES = "the reference proxier has no nftables mode"
_OTHER_KIND = "measure it with `kind: kube-proxy`"
_ENV = {"PYTHONHASHSEED": "0"}  # else every start has another order of hashing, and another count of instructions


def _said(line: str) -> str:
    """Return the error of a logged event in its own words; any other line as it is."""
    with contextlib.suppress(ValueError):
        event = json.loads(line)
        if isinstance(event, dict) and isinstance(event.get("error"), str):
            return str(event["error"])
    return line


def _tail(log: str) -> str:
    return " | ".join(map(_said, log.strip().splitlines()[-_LOG_LINES:])) or "it wrote no log"


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

    def source(self, spec: SubjectSpec) -> str:  # noqa: ARG002 - all of them are one program
        """Say that it is a part of this program."""
        return f"part of proxybench {__version__}"

    def check(self, spec: SubjectSpec, handle: NodeHandle) -> Capability:
        """Say whether the node has what the mode needs."""
        if spec.mode is Mode.NFTABLES:
            return Capability(supported=False, reason=_NO_NFTABLES, fix=_OTHER_KIND)
        return check_node(spec.mode, spec.iptables, handle)

    def prepare(self, spec: SubjectSpec) -> None:
        """Do nothing: each node is made ready as it starts there."""

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
