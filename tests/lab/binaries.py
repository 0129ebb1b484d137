"""Programs of Kubernetes' releases for lab tests: from the cache, downloaded or built; skips where none can be had.

A build takes minutes the first time: a test that may be the first to ask needs a ``timeout`` mark to match.
PROXYBENCH_TEST_RELEASES names the releases of kube-proxy that lab tests run, parted by blanks; without it, one.
PROXYBENCH_TEST_CLUSTER names the release of the control planes and their kube-proxies that tests of clusters run.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from proxybench.errors import TransferError, UnavailableError
from proxybench.releases.ensure import ensure

if TYPE_CHECKING:
    from pathlib import Path

RELEASES = tuple(os.environ.get("PROXYBENCH_TEST_RELEASES", "v1.37.2").split())
CLUSTER = os.environ.get("PROXYBENCH_TEST_CLUSTER", "v1.37.2")
ETCD = "3.6.16"
FIRST_BUILD_S = 1800


def kube_proxy(version: str = CLUSTER) -> Path:
    """Return a kube-proxy for this machine's architecture."""
    return program("kube-proxy", version)


def program(component: str, version: str) -> Path:
    """Return a component (see ``proxybench.releases.component``) for this machine's architecture."""
    try:
        return ensure(component, version, report=print).path
    except (UnavailableError, TransferError) as error:
        pytest.skip(str(error))
