from __future__ import annotations

import pytest

from proxybench.releases.component import Component, host_architecture
from proxybench.releases.inspect import check_program
from tests.lab.binaries import FIRST_BUILD_S, RELEASES, kube_proxy

pytestmark = [pytest.mark.lab, pytest.mark.timeout(FIRST_BUILD_S)]


@pytest.mark.parametrize("release", RELEASES)
def test_a_real_kube_proxy_can_be_had_and_is_what_was_asked_for(release: str) -> None:
    check_program(kube_proxy(release), Component.KUBE_PROXY, release, host_architecture())
