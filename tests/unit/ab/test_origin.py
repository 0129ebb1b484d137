from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from proxybench.ab.origin import Form, HereVersions, Origin, common_modes, find_origin
from proxybench.errors import UsageError
from proxybench.model import Mode

if TYPE_CHECKING:
    from pathlib import Path


class FakeVersions:
    def of_file(self, path: Path) -> str:
        return "v1.37.2"

    def of_checkout(self, folder: Path) -> str:
        return "v1.38.0-alpha.0.12+0123456789abcd"


def origin(version: str) -> Origin:
    return find_origin(version, FakeVersions())


def test_a_release_a_file_and_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kube-proxy").write_bytes(b"\x7fELF")
    (tmp_path / "v1.33.13").write_bytes(b"\x7fELF")
    (tmp_path / "kubernetes").mkdir()
    assert origin("1.33.13") == Origin("1.33.13", Form.VERSION, "v1.33.13", "v1.33.13")
    assert origin("./v1.33.13").form is Form.PATH
    file, checkout = origin("kube-proxy"), origin("kubernetes")
    assert file == Origin("kube-proxy", Form.PATH, str(tmp_path / "kube-proxy"), "v1.37.2")
    assert (checkout.form, checkout.value) == (Form.SOURCE, str(tmp_path / "kubernetes"))
    assert [each.label for each in (origin("v1.33.13"), file)] == ["v1.33.13", "v1.37.2 (kube-proxy)"]
    assert checkout.label == "v1.38.0-alpha.0.12+0123456789abcd (kubernetes)"


@pytest.mark.parametrize("text", ["1.37", "nothing-here", "v1.37.2.1", "v1.37.2-rc.0"])
def test_what_is_neither(text: str) -> None:
    with pytest.raises(UsageError) as error:
        origin(text)
    assert str(error.value) == (
        f'"{text}" is no exact release, and no such file or folder is there; write one such as v1.37.2'
    )


def test_files_and_folders_that_are_no_kube_proxy(tmp_path: Path) -> None:
    (tmp_path / "script").write_text("#!/bin/sh\n")
    with pytest.raises(UsageError, match=r"script: is no Linux program; give the kube-proxy itself$"):
        find_origin(str(tmp_path / "script"), HereVersions())
    with pytest.raises(UsageError, match="is no checkout of Kubernetes"):
        find_origin(str(tmp_path), HereVersions())


def test_a_checkout_without_git_has_the_version_that_a_build_of_it_has(tmp_path: Path) -> None:
    (tmp_path / "go.mod").write_text("module k8s.io/kubernetes\n")
    (tmp_path / "cmd/kube-proxy").mkdir(parents=True)
    (tmp_path / "CHANGELOG").mkdir()
    (tmp_path / "CHANGELOG/CHANGELOG-1.30.md").write_text("")
    assert find_origin(str(tmp_path), HereVersions()).version == "v1.30.0-master+unknown"


def test_the_usual_modes_are_those_that_both_have() -> None:
    assert common_modes([origin("v1.33.13"), origin("v1.37.2")], []) == ((Mode.IPTABLES, Mode.NFTABLES), ())
    reason = "kube-proxy v1.28.9 has no mode nftables: nftables came in 1.29; use 1.29 or newer"
    assert common_modes([origin("v1.28.9"), origin("v1.37.2")], []) == ((Mode.IPTABLES,), (reason,))
    assert common_modes([origin("v1.28.9"), origin("v1.28.9")], []) == ((Mode.IPTABLES,), (reason,))


def test_a_mode_that_is_asked_for_is_never_left_out() -> None:
    with pytest.raises(UsageError) as error:
        common_modes([origin("v1.25.0"), origin("v1.37.2")], [Mode.USERSPACE, Mode.IPVS])
    assert str(error.value) == (
        "kube-proxy v1.37.2 has no mode userspace: userspace was removed in 1.26; use 1.25 or older"
    )
    assert common_modes([origin("v1.25.0")], [Mode.USERSPACE]) == ((Mode.USERSPACE,), ())
