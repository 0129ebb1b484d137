"""Which kube-proxy a subject means, and its way onto a node."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from proxybench.errors import UsageError
from proxybench.releases.component import Component, host_architecture
from proxybench.releases.inspect import elf_architecture, reported_version
from proxybench.releases.store import Binary, sha512

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from proxybench.experiment.requests import SubjectSpec
    from proxybench.nodes.node import NodeHandle

_HASH_LIMIT: Final = 120.0  # 80 MB through an emulated processor
MACHINES: Final = {"x86_64": "amd64", "aarch64": "arm64"}
"""What ``uname -m`` says, in Kubernetes' words; other architectures are called alike."""


class Binaries(Protocol):
    """Where binaries come from."""

    def release(self, version: str) -> Binary:
        """Return an official release ("v1.37.2"), fetched or built if need be. Raises ProxybenchError."""
        ...

    def checkout(self, folder: Path) -> Binary:
        """Build a checkout of kubernetes. Raises ProxybenchError."""
        ...


def find_binary(spec: SubjectSpec, binaries: Binaries) -> Binary:
    """Return the binary that a subject means. Raises UsageError, and what ``binaries`` raises."""
    if spec.path is not None:
        return inspect_file(spec.path)
    if spec.source is not None:
        return binaries.checkout(spec.source)
    return binaries.release(spec.subject.version)


def inspect_file(
    path: Path, ask: Callable[[Path, Component], str | None] = reported_version, host: str | None = None
) -> Binary:
    """Return what a given file is. Raises UsageError when it is no kube-proxy that this machine can ask."""
    try:
        arch = elf_architecture(path)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
    here = host or host_architecture()
    if arch is None:
        raise UsageError(f"{path}: is no Linux program; give the kube-proxy itself")
    if arch != here:
        raise UsageError(f"{path}: is built for {arch} and cannot be asked for its version here, on {here}")
    version = ask(path, Component.KUBE_PROXY)
    if version is None:
        raise UsageError(f"{path}: does not say that it is a kube-proxy when it is asked for its --version")
    return Binary(path.absolute(), Component.KUBE_PROXY, version, arch, f"file {path}", sha512(path))


def install_binary(binary: Binary, handle: NodeHandle) -> str:
    """Return where the binary lies on the node: where it lies here if the node sees it there, else put there now.

    In a lab the node may share this machine's files. Raises HostError.
    """
    theirs = f"{handle.node.workdir}/bin/kube-proxy-{binary.sha512[:16]}"
    for place in (str(binary.path), theirs):
        summed = handle.executor.run(["sha512sum", place], check=False, timeout=_HASH_LIMIT)
        # Before the sum of a file with a backslash in its name stands another.
        if summed.code == 0 and summed.stdout.lstrip("\\").split()[:1] == [binary.sha512]:
            return place
    handle.executor.run(["mkdir", "-p", f"{handle.node.workdir}/bin"])
    handle.executor.put(binary.path.read_bytes(), theirs, mode=0o755)
    return theirs
