from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from proxybench.errors import LabError
from proxybench.experiment.places import LabSpec
from proxybench.experiment.subjects import Backend
from proxybench.model import Mode
from proxybench.subjects.driver import Capability
from proxybench.targets.lab.capabilities import Machine
from proxybench.targets.lab.kernel_probe import Trial
from proxybench.targets.lab.survey import allowed, survey
from proxybench.testing.hosts import done

if TYPE_CHECKING:
    from pathlib import Path

    from proxybench.subjects.outlook import Need

IPVS: Need = (Mode.IPVS, Backend.NFT)
NFTABLES: Need = (Mode.NFTABLES, None)
YES = Capability(supported=True)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROXYBENCH_CACHE", str(tmp_path))
    (tmp_path / "vm-6.1").mkdir()
    (tmp_path / "vm-6.1/.complete").touch()


def test_each_need_is_looked_at_once_for_each_kind_of_node() -> None:
    tried: list[tuple[Mode, str]] = []

    def probe(mode: Mode, backend: str) -> Trial:
        tried.append((mode, backend))
        return Trial(2, "Unknown device type") if mode is Mode.IPVS else Trial(0, "")

    def no_apt(kernel: str) -> None:
        raise LabError(f"apt did not end, asked for {kernel}")

    machine = Machine(True, "x86_64", lambda name: name, probe, lambda _: done("v1.0.6"), no_apt)  # noqa: FBT003
    old = Capability(supported=False, reason="nftables mode needs Linux 5.13, it runs 1.0.6", fix="a newer kernel")
    refused = Capability(
        supported=False, reason="a trial of ipvs mode failed: Unknown device type", fix="use target.lab.kind: vm"
    )
    silent = Capability(supported=False, reason="apt did not end, asked for 6.12")
    assert survey([IPVS, NFTABLES, IPVS], machine) == {
        "netns": {IPVS: refused, NFTABLES: old},
        "vm 6.1": {IPVS: YES, NFTABLES: YES},
        "vm 6.12": {IPVS: silent, NFTABLES: silent},
    }
    assert tried == [(Mode.IPVS, "nft")]


@pytest.mark.parametrize(
    ("words", "places"),
    [
        ({}, ("netns", "vm 6.1")),
        ({"kind": "netns"}, ("netns",)),
        ({"kind": "vm"}, ("vm 6.1",)),
        ({"kind": "vm", "kernel": "6.12"}, ("vm 6.12",)),
        ({"kernel": "6.12"}, ("vm 6.12",)),
        ({"clock": "instructions"}, ("vm 6.1",)),
    ],
)
def test_what_an_experiment_allows(words: dict[str, Any], places: tuple[str, ...]) -> None:
    assert allowed(LabSpec.model_validate(words)) == places
