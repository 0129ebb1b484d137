"""A program of an exact version: from the cache, else the official release, else built as a Go module.

Where it came from is recorded beside it; nothing is ever put in the place of what was asked for.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from proxybench.cache import cache_folder
from proxybench.errors import BuildError, UnavailableError, UsageError
from proxybench.releases.component import architecture, component_named, exact_version
from proxybench.releases.download import Limits, download, published_sum
from proxybench.releases.go_module import Go
from proxybench.releases.inspect import check_program
from proxybench.releases.store import PARTIAL, Binary, Store, sha512

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from proxybench.releases.component import Component

OFFICIAL = "https://dl.k8s.io"
"""Kubernetes' own download host."""

URL_VARIABLE = "PROXYBENCH_RELEASES_URL"


class Source(StrEnum):
    """Where a program may come from when the cache has none."""

    AUTO = "auto"
    RELEASE = "release"
    GO = "go"


@dataclass(frozen=True)
class Surroundings:
    """What getting a program touches beside its arguments: the cache, the environment, limits, and the last check."""

    root: Path = field(default_factory=lambda: cache_folder() / "bin")
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    limits: Limits = field(default_factory=Limits)
    check: Callable[[Path, Component, str, str], None] = check_program


def ensure(
    component: str,
    version: str,
    *,
    report: Callable[[str], None],
    base_url: str | None = None,
    arch: str | None = None,
    source: Source = Source.AUTO,
    surroundings: Surroundings | None = None,
) -> Binary:
    """Return a program, fetching or building it if need be.

    ``component`` is one of ``Component``, ``version`` "v1.37.2" or "1.37.2"; ``base_url`` is a mirror of the official
    releases (else PROXYBENCH_RELEASES_URL, else Kubernetes' own host); ``arch`` is in Kubernetes' words, None for this
    machine's; ``report`` is called with lines of progress. Concurrent callers wait for the first.

    Raises UsageError for arguments that mean nothing, UnavailableError when there is no such release or no way to have
    it, TransferError when a download broke off or is wrong, BuildError when ``source`` is Go and the build failed.
    """
    around = surroundings or Surroundings()
    chosen = component_named(component)
    request = _Request(chosen, exact_version(chosen, version), architecture(arch), report, around)
    base = base_address(around.environ, base_url)
    store = Store(around.root)
    place = store.place(chosen, request.version, request.arch)
    if found := store.find(place):  # also in a cache that cannot be written, as of an image
        return found
    with store.lock(place, lambda: report(f"waiting for another process that gets {request.name}")):
        if found := store.find(place):
            return found
        return request.fulfil(source, store, place, base)


@dataclass(frozen=True)
class _Request:
    """One program that the cache does not have."""

    component: Component
    version: str
    arch: str
    report: Callable[[str], None]
    around: Surroundings

    @property
    def name(self) -> str:
        return f"{self.component} {self.version} ({self.arch})"

    def download(self, store: Store, place: Path, base: str) -> Binary:
        url = release_url(base, self.component, self.version, self.arch)
        expected = published_sum(f"{url}.sha512", self.around.limits)
        self.report(f"downloading {self.name} from {base}")
        partial = place.with_name(f"{place.name}{PARTIAL}")
        download(url, partial, expected, self.report, self.around.limits)
        return self._keep(store, place, partial, f"release {url}")

    def build(self, store: Store, place: Path) -> Binary:
        with store.workshop(place) as folder:
            go = Go(self.report, self.around.environ)
            built, release = go.build_module(self.component, self.version, self.arch, folder)
            return self._keep(store, place, built, f"go module {self.component.module}@{self.version}", release)

    def fulfil(self, source: Source, store: Store, place: Path, base: str) -> Binary:
        """Try the sources in their order. Raises UnavailableError with the reason of each."""
        refusals: list[UnavailableError | BuildError] = []
        if source is not Source.GO and self.component.of_kubernetes:
            try:
                return self.download(store, place, base)
            except UnavailableError as error:
                refusals.append(error)
        if source is not Source.RELEASE:
            if refusals:
                self.report(f"no download: {refusals[0]}")
            try:
                return self.build(store, place)
            except UnavailableError as error:
                refusals.append(error)
            except BuildError as error:
                if not refusals:
                    raise
                refusals.append(error)
        raise self._nowhere(refusals)

    def _nowhere(self, refusals: list[UnavailableError | BuildError]) -> UnavailableError:
        reasons = "; ".join(map(str, refusals)) or "it is not part of Kubernetes' releases; take --source go"
        missing = bool(refusals) and all(isinstance(error, UnavailableError) and error.missing for error in refusals)
        start = f"there is no {self.name}" if missing else f"{self.name} cannot be had"
        return UnavailableError(f"{start}: {reasons}", missing=missing)

    def _keep(self, store: Store, place: Path, file: Path, source: str, go: str = "") -> Binary:
        file.chmod(0o755)
        try:
            self.around.check(file, self.component, self.version, self.arch)
        except Exception:
            file.unlink()
            raise
        facts = Binary(place, self.component, self.version, self.arch, source, sha512(file), go)
        return store.keep(file, facts)


def release_url(base: str, component: Component, version: str, arch: str) -> str:
    """Return where a release's program is published; its sum is at the same address with ``.sha512`` behind it."""
    return f"{base}/release/{version}/bin/linux/{arch}/{component}"


def base_address(environ: Mapping[str, str], chosen: str | None = None) -> str:
    """Return the base address of releases: a chosen one, else the environment's, else Kubernetes' own host.

    Raises UsageError.
    """
    url = chosen or environ.get(URL_VARIABLE) or OFFICIAL
    if not url.startswith(("https://", "http://")):
        raise UsageError(f'"{url}" is no base address; write one such as {OFFICIAL}')
    return url.rstrip("/")
