from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from proxybench.gate.side import fingerprint, side_of_runs
from proxybench.model import ClockKind, LabKind
from proxybench.results.folder import open_run
from proxybench.results.manifest import Fingerprint, LabFacts, NodeFacts

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NATIVE = LabFacts(LabKind.NETNS, ClockKind.WALL, "none")
GUEST = LabFacts(LabKind.VM, ClockKind.INSTRUCTIONS, "tcg")


def test_of_two_clocks_the_instructions_are_compared(make_run: Callable[..., Path]) -> None:
    folder = open_run(make_run(clock=ClockKind.WALL))
    nodes = {"node-1 (wall)": NodeFacts(kernel="6.18"), "node-1 (instructions)": NodeFacts(kernel="6.1")}
    folder.write_manifest(
        replace(folder.manifest, lab=NATIVE, other_labs=(GUEST,), fingerprint=Fingerprint(nodes=nodes))
    )
    found = fingerprint(folder.manifest)
    assert (found["clock"], found["lab_kind"], found["kernel"], found["accelerator"]) == (
        "instructions",
        "vm",
        "6.1",
        "tcg",
    )
    assert side_of_runs([folder]).series == {}  # its samples are all by the wall clock
