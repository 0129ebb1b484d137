from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from proxybench.errors import LabError
from proxybench.model import Mode
from proxybench.targets.lab.install import GUEST_PROGRAMS, PROGRAMS, Lacking, lacking
from proxybench.targets.lab.kernel_probe import programs

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

APT = ("env", "DEBIAN_FRONTEND=noninteractive", "apt-get")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PROXYBENCH_CACHE", str(tmp_path))
    return tmp_path


def fill(cache: Path, *entries: str) -> None:
    for entry in entries:
        (cache / entry).mkdir()
        (cache / entry / ".complete").touch()


def without(*names: str) -> Callable[[str], str | None]:
    return lambda name: None if name in names else f"/bin/{name}"


def test_all_that_doctor_looks_for_is_brought() -> None:
    known = PROGRAMS | GUEST_PROGRAMS | {"xtables-nft-multi": "iptables"}
    for mode in Mode:
        for backend in ("legacy", "nft"):
            assert programs(mode, backend).items() <= known.items()


def test_nothing_is_lacking_where_all_is_there(cache: Path) -> None:
    fill(cache, "sshd", "vm-6.1")
    found = lacking("6.1", without())
    assert not found
    assert (found.commands(), found.lines()) == ((), ())


def test_what_a_guest_needs_is_lacking_for_a_guest_only(cache: Path) -> None:
    fill(cache, "sshd")
    find = without("qemu-system-x86_64", "ipset", "nsenter", "setpriv")
    guest, names = lacking("6.1", find), lacking(None, find)
    assert (guest.packages, guest.entries) == (("ipset", "qemu-system-x86", "util-linux"), ("6.1",))
    assert (names.packages, names.entries) == (("ipset", "util-linux"), ())


def test_the_lines_are_the_commands_and_what_is_fetched(cache: Path) -> None:
    found = Lacking(("ipset", "kmod"), ("6.1", None), is_root=False)
    assert found.lines() == (
        "sudo env DEBIAN_FRONTEND=noninteractive apt-get update -q",
        "sudo env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends ipset kmod",
        f"apt-get download and dpkg -x of Linux 6.1, busybox and sshd into {cache} (nothing is installed)",
        f"apt-get download and dpkg -x of sshd into {cache} (nothing is installed)",
    )


def test_each_command_is_said_before_it_runs() -> None:
    told: list[object] = []
    Lacking(("ipset",), (), is_root=True).bring(told.append, lambda argv: told.append(tuple(argv)))
    update, install = (*APT, "update", "-q"), (*APT, "install", "-q", "-y", "--no-install-recommends", "ipset")
    assert told == [" ".join(update), update, " ".join(install), install]


def test_what_is_fetched_alone_takes_a_fresh_list_of_packages() -> None:
    assert Lacking((), (None,), is_root=True).commands() == ((*APT, "update", "-q"),)


def test_a_command_that_fails_ends_it(cache: Path) -> None:
    ran = []

    def run(argv: Sequence[str]) -> None:
        ran.append(argv[-1])
        raise LabError("apt-get update failed: no route")

    with pytest.raises(LabError, match="no route"):
        Lacking(("ipset",), (None,), is_root=True).bring(lambda _: None, run)
    assert ran == ["-q"]


def test_without_apt_the_programs_are_named(cache: Path) -> None:
    fill(cache, "sshd")
    with pytest.raises(LabError) as caught:
        lacking(None, without("apt-get", "nft", "ipset"))
    assert str(caught.value) == (
        "the lab needs ipset, nft, and there is no apt-get here to bring it; use Debian 12 (docs/ci.md)"
    )
    with pytest.raises(LabError, match="the lab needs a Debian kernel and sshd, and there is no apt-get"):
        lacking("6.1", without("apt-get"))
