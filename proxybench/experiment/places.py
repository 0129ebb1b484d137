"""The words of an experiment below ``target: {lab: …}``: where is measured, and by whose clock."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

from proxybench.experiment.words import Words, one_of, parser_of, schema_of


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
