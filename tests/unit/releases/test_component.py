from __future__ import annotations

import platform

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxybench.errors import UsageError
from proxybench.releases.component import (
    ELF_MACHINES,
    Component,
    architecture,
    component_named,
    exact_version,
    host_architecture,
)

PROXY = Component.KUBE_PROXY


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("v1.37.2", "v1.37.2"),
        ("1.37.2", "v1.37.2"),
        (" 1.37.2\n", "v1.37.2"),
        ("1.38.0-alpha.1", "v1.38.0-alpha.1"),
        ("v1.38.0-rc.0", "v1.38.0-rc.0"),
    ],
)
def test_an_exact_version_is_written_as_its_tag(text: str, version: str) -> None:
    assert exact_version(PROXY, text) == version


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1.37", '"1.37" names no single release of kube-proxy; write all three numbers, such as v1.37.2'),
        ("v1", '"v1" names no single release of kube-proxy; write all three numbers, such as v1.37.2'),
        ("latest", '"latest" is no version of kube-proxy; write one such as v1.37.2'),
        ("1.37.2/../x", '"1.37.2/../x" is no version of kube-proxy; write one such as v1.37.2'),
        ("1.37.x", '"1.37.x" is no version of kube-proxy; write one such as v1.37.2'),
        ("", '"" is no version of kube-proxy; write one such as v1.37.2'),
        (f"v{'9' * 5000}.1.1", f'"v{"9" * 5000}.1.1" is no version of kube-proxy; write one such as v1.37.2'),
    ],
)
def test_what_names_no_release_is_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        exact_version(PROXY, text)
    assert str(error.value) == message


@given(st.text(alphabet="v0123456789.-abr/", max_size=12))
def test_a_version_is_refused_or_safe_in_a_path_and_read_again_as_itself(text: str) -> None:
    try:
        version = exact_version(PROXY, text)
    except UsageError:
        return
    assert "/" not in version
    assert ".." not in version
    assert exact_version(PROXY, version) == version


def test_an_unknown_component() -> None:
    with pytest.raises(UsageError) as error:
        component_named("kubelet")
    assert str(error.value) == (
        '"kubelet" is no component; choose one of kube-proxy, kube-apiserver, kube-controller-manager, etcd'
    )


def test_modules_and_packages() -> None:
    assert (PROXY.module, PROXY.package) == ("k8s.io/kubernetes", "k8s.io/kubernetes/cmd/kube-proxy")
    assert (Component.ETCD.module, Component.ETCD.package) == ("go.etcd.io/etcd/server/v3",) * 2


def test_what_programs_say_of_their_version() -> None:
    assert PROXY.reported("Kubernetes v1.37.2\n") == "v1.37.2"
    assert PROXY.reported("kube-proxy 1.37.2\n") is None
    etcd = "etcd Version: 3.6.16\nGit SHA: GitNotFound\nGo Version: go1.26.8\nGo OS/Arch: linux/amd64\n"
    assert Component.ETCD.reported(etcd) == "v3.6.16"


def test_architectures(monkeypatch: pytest.MonkeyPatch) -> None:
    assert architecture("arm64") == architecture("aarch64") == "arm64"
    assert architecture("x86_64") == "amd64"
    with pytest.raises(UsageError) as error:
        architecture("sparc")
    assert str(error.value) == (
        '"sparc" is no architecture of Kubernetes\' releases; choose one of amd64, arm64, ppc64le, riscv64, s390x'
    )
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert architecture(None) == host_architecture() == "arm64"
    monkeypatch.setattr(platform, "machine", lambda: "i686")
    assert host_architecture() == "i686"
    assert "i686" not in ELF_MACHINES
