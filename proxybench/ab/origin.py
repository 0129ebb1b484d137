"""Which kube-proxy a word of the command line means, and the modes that two of them share."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from proxybench.errors import UsageError
from proxybench.experiment.compat import KubeVersion, mode_in
from proxybench.experiment.subjects import release
from proxybench.model import Mode

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

DEFAULT_MODES = (Mode.IPTABLES, Mode.NFTABLES)
"""What is compared unless modes are named, where both have it."""


class Form(StrEnum):
    """By which word of an experiment file a kube-proxy is named."""

    VERSION = "version"
    PATH = "path"
    SOURCE = "source"


@dataclass(frozen=True)
class Origin:
    """One kube-proxy: as the user wrote it, and what it is; ``version`` is what it tells of itself."""

    text: str
    form: Form
    value: str
    version: str

    @property
    def label(self) -> str:
        """What it is called in titles: "v1.37.2", or "v1.37.2 (./kube-proxy)"."""
        return self.version if self.form is Form.VERSION else f"{self.version} ({self.text})"


class Versions(Protocol):
    """Asks what is no release for its version."""

    def of_file(self, path: Path) -> str:
        """Ask a program. Raises UsageError when it is no kube-proxy that can run here."""
        ...

    def of_checkout(self, folder: Path) -> str:
        """Ask git. Raises UsageError when it is no checkout of Kubernetes."""
        ...


class HereVersions:
    """Implements Versions on this machine."""

    def of_file(self, path: Path) -> str:
        """Run it with ``--version``."""
        from proxybench.subjects.kube_proxy_binary import inspect_file  # noqa: PLC0415 - only files need it

        return inspect_file(path).version

    def of_checkout(self, folder: Path) -> str:
        """Return what Kubernetes' own build would write."""
        from proxybench.releases.checkout import checkout_version  # noqa: PLC0415 - only checkouts need it

        return checkout_version(folder)


def find_origin(text: str, versions: Versions) -> Origin:
    """Return what a word means: an exact release, else a file, else a checkout.

    A file whose name is that of a release is written ./v1.37.2. Raises UsageError.
    """
    try:
        exact = release(text)
    except ValueError:
        exact = ""
    if exact:
        return Origin(text, Form.VERSION, exact, exact)
    path = Path(text).absolute()
    if path.is_dir():
        return Origin(text, Form.SOURCE, str(path), versions.of_checkout(path))
    if path.is_file():
        return Origin(text, Form.PATH, str(path), versions.of_file(path))
    raise UsageError(f'"{text}" is no exact release, and no such file or folder is there; write one such as v1.37.2')


def common_modes(origins: Sequence[Origin], wanted: Sequence[Mode]) -> tuple[tuple[Mode, ...], tuple[str, ...]]:
    """Return the modes to compare, and why any of the usual ones is left out.

    Raises UsageError when one of ``wanted`` is missing somewhere, or when no mode is left.
    """
    refusals = {mode: list(_refusals(origins, mode)) for mode in dict.fromkeys(wanted or DEFAULT_MODES)}
    modes = tuple(mode for mode, reasons in refusals.items() if not reasons)
    reasons = tuple(reason for found in refusals.values() for reason in found)
    if reasons and (wanted or not modes):
        raise UsageError("\n".join(reasons))
    return modes, reasons


def _refusals(origins: Sequence[Origin], mode: Mode) -> Iterator[str]:
    for origin in dict.fromkeys(origins):
        verdict = mode_in(mode, KubeVersion.of_release(origin.version))
        if not verdict.able:
            yield f"kube-proxy {origin.label} has no mode {mode}: {verdict.note}"
