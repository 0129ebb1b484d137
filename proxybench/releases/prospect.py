"""Where a kube-proxy would come from, without getting it: nothing is fetched, built or written."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from proxybench.cache import unwritable
from proxybench.errors import BuildError, UnavailableError
from proxybench.releases.checkout import built_before, checkout_version
from proxybench.releases.component import Component, host_architecture
from proxybench.releases.download import published_sum
from proxybench.releases.ensure import URL_VARIABLE, Surroundings, base_address, release_url
from proxybench.releases.go_module import Go
from proxybench.releases.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator

_PROXY = Component.KUBE_PROXY
_NO_GO = "Go is not installed here (no go on PATH)"
_OTHER_WAYS = f"name a mirror with {URL_VARIABLE}, install Go, or give a file by path:"


class Way(StrEnum):
    """How a program would be had. Without asking the network nobody knows whether a download works."""

    CACHED = "cached"
    FILE = "file"
    DOWNLOAD = "download"
    DOWNLOAD_OR_GO = "download, else Go"
    GO = "Go"
    INCLUDED = "part of proxybench"
    COMMAND = "command"
    NONE = "none"


@dataclass(frozen=True)
class Prospect:
    """How a program would be had, and the version that it says it is; with NONE why not, and what would help."""

    way: Way
    version: str = ""
    reason: str = ""
    fix: str = ""


def foresee_release(version: str, *, online: bool, surroundings: Surroundings | None = None) -> Prospect:
    """Return how an official release of kube-proxy ("v1.37.2") would be had on this machine.

    The network is asked only if ``online`` and the cache has none: for the published sum, then Go for the module.
    Raises UsageError when the base address of releases is none.
    """
    around = surroundings or Surroundings()
    store = Store(around.root)
    if store.find(store.place(_PROXY, version, host_architecture())):
        return Prospect(Way.CACHED, version)
    if problem := unwritable(around.root):
        return Prospect(Way.NONE, version, *problem)
    if online:
        return _asked(version, around)
    return Prospect(Way.DOWNLOAD_OR_GO if _go(around).installed else Way.DOWNLOAD, version)


def foresee_checkout(folder: Path, surroundings: Surroundings | None = None) -> Prospect:
    """Return how kube-proxy of a checkout of kubernetes would be had. Raises UsageError when the folder is none."""
    around = surroundings or Surroundings()
    version = checkout_version(folder)
    if built_before(folder, around):
        return Prospect(Way.CACHED, version)
    if problem := unwritable(around.root):
        return Prospect(Way.NONE, version, *problem)
    if _go(around).installed:
        return Prospect(Way.GO, version)
    return Prospect(Way.NONE, version, _NO_GO, "install Go")


def _asked(version: str, around: Surroundings) -> Prospect:
    refusals: list[UnavailableError | BuildError] = []
    for way, error in _answers(version, around):
        if error is None:
            return Prospect(way, version)
        refusals.append(error)
    missing = all(isinstance(error, UnavailableError) and error.missing for error in refusals)
    fix = "name a version that was released" if missing else _OTHER_WAYS
    return Prospect(Way.NONE, version, "; ".join(map(str, refusals)), fix)


def _answers(version: str, around: Surroundings) -> Iterator[tuple[Way, UnavailableError | BuildError | None]]:
    url = release_url(base_address(around.environ), _PROXY, version, host_architecture())
    try:
        published_sum(f"{url}.sha512", around.limits)
    except UnavailableError as error:
        yield Way.DOWNLOAD, error
    else:
        yield Way.DOWNLOAD, None
    try:
        with tempfile.TemporaryDirectory(prefix="proxybench-go.") as scratch:
            _go(around).find_module(_PROXY, version, Path(scratch))
    except (UnavailableError, BuildError) as error:
        yield Way.GO, error
    else:
        yield Way.GO, None


def _go(around: Surroundings) -> Go:
    return Go(lambda _: None, around.environ)
