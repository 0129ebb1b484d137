from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

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
    from collections.abc import Sequence
    from pathlib import Path

    from proxybench.subjects.outlook import Need

IPVS: Need = (Mode.IPVS, Backend.NFT)
NFTABLES: Need = (Mode.NFTABLES, None)
YES = Capability(supported=True)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROXYBENCH_CACHE", str(tmp_path))
    for entry in ("vm-6.1", "sshd"):
        (tmp_path / entry).mkdir()
        (tmp_path / entry / ".complete").touch()


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


def looked_at(monkeypatch: pytest.MonkeyPatch, cache: Path, *, lacking: Sequence[str] = ()) -> dict[str, Capability]:
    """Return for each kind of node whether IPVS can be, where nothing has been fetched into this cache."""

    def find(name: str) -> str | None:
        return None if name in lacking else name

    monkeypatch.setenv("PROXYBENCH_CACHE", str(cache))
    machine = Machine(True, "x86_64", find, lambda *_: Trial(0, ""), lambda _: done("v6.1"), lambda _: None)  # noqa: FBT003 - it is root
    return {place: able[IPVS] for place, able in survey([IPVS], machine).items()}


PLACES: Final = ("netns", "vm 6.1", "vm 6.12")


def test_what_is_to_be_fetched_needs_a_cache_that_can_be_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    cache = tmp_path / "file" / "cache"
    fix = "name another folder with PROXYBENCH_CACHE"
    lacking = Capability(supported=False, reason=f"{cache}: cannot be written", fix=fix)
    assert looked_at(monkeypatch, cache) == dict.fromkeys(PLACES, lacking)
    assert looked_at(monkeypatch, tmp_path / "none" / "cache") == dict.fromkeys(PLACES, YES)
    assert not (tmp_path / "none").exists()


def test_a_lab_of_namespaces_needs_apt_until_sshd_is_fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    apt = ("apt-get", "dpkg")
    reason, fix = "apt-get, dpkg not installed", "apt-get install apt dpkg"
    lacking = Capability(supported=False, reason=reason, fix=fix)
    assert looked_at(monkeypatch, tmp_path / "none", lacking=apt)["netns"] == lacking
    assert looked_at(monkeypatch, tmp_path, lacking=apt)["netns"] == YES


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
