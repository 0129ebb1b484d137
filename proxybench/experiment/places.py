"""The words of an experiment below ``target``, a lab or a cluster: where is measured, and by whose clock."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

from proxybench.experiment.words import LEFT_OUT, Words, one_of, parser_of, schema_of


class LabChoice(StrEnum):
    """Which kind of lab; ``auto`` takes namespaces where every mode can run in them, else the VM."""

    AUTO = "auto"
    NETNS = "netns"
    VM = "vm"


class ClockChoice(StrEnum):
    """Whose time the nodes read; ``auto`` takes instructions under TCG, else the wall clock."""

    AUTO = "auto"
    WALL = "wall"
    INSTRUCTIONS = "instructions"


class KernelChoice(StrEnum):
    """Which of Debian 12's kernels the VM boots: its own, or that of its backports."""

    DEBIAN = "6.1"
    BACKPORTS = "6.12"


BOTH_CLOCKS = (ClockChoice.WALL, ClockChoice.INSTRUCTIONS)
a_clock = parser_of("a clock", *ClockChoice)


def _clocks(value: object) -> object:
    """Read a clock, or a list of both."""
    if not isinstance(value, list | tuple):
        return a_clock(value)
    if sorted(map(str, value)) != sorted(map(str, BOTH_CLOCKS)):
        raise ValueError("a list of clocks has both: write clock: [wall, instructions], or one of them alone")
    return BOTH_CLOCKS


class LabSpec(Words):
    """The embedded lab."""

    kind: Annotated[LabChoice, one_of("a kind of lab", *LabChoice), schema_of(*LabChoice)] = LabChoice.AUTO
    """auto takes netns where every mode of the experiment can run in it, else vm."""
    clock: Annotated[
        ClockChoice | tuple[ClockChoice, ...],
        BeforeValidator(_clocks, json_schema_input_type=Any),
        WithJsonSchema(
            {
                "anyOf": [
                    {"type": "string", "enum": [str(clock) for clock in ClockChoice]},
                    {"type": "array", "items": {"enum": list(map(str, BOTH_CLOCKS))}, "minItems": 2, "maxItems": 2},
                ]
            }
        ),
    ] = ClockChoice.AUTO
    """instructions: the VM's time is its count of executed instructions; or both in turn: [wall, instructions]."""
    kernel: Annotated[
        KernelChoice, one_of("a kernel of the VM", *KernelChoice), schema_of(*KernelChoice), Field(examples=['"6.1"'])
    ] = KernelChoice.DEBIAN
    """Which Linux the VM boots, in quotes; namespaces have this machine's."""
    shards: Annotated[int | None, Field(strict=True, ge=1, le=16, examples=["1"])] = None
    """VMs that take steps side by side, by the instruction clock only; left out, as many as keep the machine busy."""
    clients: Annotated[int, Field(strict=True, ge=1, le=8)] = 1
    """Client nodes that make the load together (locust's master and workers); all else is probed from the first."""

    @property
    def clocks(self) -> tuple[ClockChoice, ...]:
        """The clocks in the order in which they are measured by: real time first."""
        return self.clock if isinstance(self.clock, tuple) else (self.clock,)


class PodsSpec(Words):
    """Pods that are there already and lend their addresses: our backend runs in their network, on their hosts."""

    selector: Annotated[str, Field(strict=True, min_length=1, examples=["app=web"])]
    """Which pods, by their labels."""
    namespace: Annotated[str, Field(strict=True, min_length=1)] = "default"
    """Where they are."""


class ClusterSpec(Words):
    """A cluster of your own: observed as it is, unless --allow-switch says otherwise (docs/cluster.md)."""

    inventory: Annotated[str, Field(strict=True, min_length=1, examples=["nodes.yaml"])]
    """The file that names its hosts, seen from the folder of the experiment file."""
    kubeconfig: Annotated[str | None, LEFT_OUT, Field(strict=True, examples=["~/.kube/config"])] = None
    """How its API is reached, a file or several (a:b); left out, $KUBECONFIG or ~/.kube/config."""
    context: Annotated[str | None, LEFT_OUT, Field(strict=True, examples=["prod"])] = None
    """The context of the kubeconfig; left out, the current one."""
    node_url: Annotated[
        str | None, LEFT_OUT, Field(strict=True, pattern="^https://", examples=["https://10.0.0.1:6443"])
    ] = None
    """The API as the client node reaches it; left out, as the kubeconfig says."""
    service_cidr: Annotated[str | None, LEFT_OUT, Field(strict=True, examples=["10.96.0.0/12"])] = None
    """The range of ClusterIPs; left out, what the API says (Kubernetes 1.33 and later)."""
    pods: Annotated[
        PodsSpec | None, Field(exclude_if=lambda value: value is None, examples=["{selector: app=web}"])
    ] = None
    """Endpoints are these pods, as far as their hosts are in the inventory, instead of hosts of the role backend."""
    backend_port: Annotated[int, Field(strict=True, ge=1, le=65_535)] = 18_080
    """Where backends listen on their hosts while the run lasts."""
    writes_per_second: Annotated[int, Field(strict=True, ge=1, le=1_000)] = 50
    """The most that is written to the API in a second while the population is made."""
