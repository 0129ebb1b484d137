"""Which programs can be had, how their versions are written and what they are called upstream."""

from __future__ import annotations

import platform
import re
from enum import StrEnum

from proxybench.errors import UsageError

_VERSION = re.compile(r"v?(\d{1,6})\.(\d{1,6})\.(\d{1,6})(-(?:alpha|beta|rc)\.\d{1,6})?")
_SHORT = re.compile(r"v?(\d{1,6})(?:\.(\d{1,6}))?")
_ETCD_MODULE = "go.etcd.io/etcd/server/v3"

ELF_MACHINES = {"amd64": 62, "arm64": 183, "ppc64le": 21, "riscv64": 243, "s390x": 22}
"""ELF's e_machine by architecture, in Kubernetes' (and Go's) words: System V ABI, "Machine Information"."""

_HOST = {"x86_64": "amd64", "aarch64": "arm64"}


class Component(StrEnum):
    """A program. kube-proxy is what is measured; the others make a real control plane for tests."""

    KUBE_PROXY = "kube-proxy"
    KUBE_APISERVER = "kube-apiserver"
    KUBE_CONTROLLER_MANAGER = "kube-controller-manager"
    ETCD = "etcd"

    @property
    def of_kubernetes(self) -> bool:
        """Whether it is part of Kubernetes' releases."""
        return self is not Component.ETCD

    @property
    def module(self) -> str:
        """The Go module that holds it."""
        return "k8s.io/kubernetes" if self.of_kubernetes else _ETCD_MODULE

    @property
    def package(self) -> str:
        """The Go package that is its main program."""
        return f"{self.module}/cmd/{self}" if self.of_kubernetes else _ETCD_MODULE

    def reported(self, output: str) -> str | None:
        """Return the version that it names in the output of ``--version`` ("v1.37.2"); None when it names none."""
        name = "Kubernetes" if self.of_kubernetes else "etcd Version:"
        found = re.search(rf"^{name} v?(\S+)$", output, re.MULTILINE)
        return f"v{found[1]}" if found else None


def component_named(name: str) -> Component:
    """Return the component. Raises UsageError."""
    try:
        return Component(name)
    except ValueError:
        raise UsageError(f'"{name}" is no component; choose one of {", ".join(Component)}') from None


def exact_version(component: Component, text: str) -> str:
    """Return a version as its release is tagged: "1.37.2" and "v1.37.2" are "v1.37.2".

    Raises UsageError for what names no single release, such as "1.37".
    """
    version = text.strip()
    if found := _VERSION.fullmatch(version):
        major, minor, patch, stage = found.groups()
        return f"v{int(major)}.{int(minor)}.{int(patch)}{stage or ''}"
    if short := _SHORT.fullmatch(version):
        example = f"v{short[1]}.{short[2] or '37'}.2"
        raise UsageError(f'"{text}" names no single release of {component}; write all three numbers, such as {example}')
    raise UsageError(f'"{text}" is no version of {component}; write one such as v1.37.2')


def host_architecture() -> str:
    """Return this machine's architecture, in Kubernetes' words where it has one."""
    machine = platform.machine()
    return _HOST.get(machine, machine)


def architecture(name: str | None) -> str:
    """Return an architecture in Kubernetes' words; None is this machine's. Raises UsageError."""
    chosen = _HOST.get(name, name) if name else host_architecture()
    if chosen not in ELF_MACHINES:
        known = ", ".join(sorted(ELF_MACHINES))
        raise UsageError(f'"{chosen}" is no architecture of Kubernetes\' releases; choose one of {known}')
    return chosen
