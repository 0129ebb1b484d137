from __future__ import annotations

import pytest

from proxybench.releases.component import Component, host_architecture
from proxybench.releases.inspect import check_program
from tests.lab.binaries import FIRST_BUILD_S, kube_proxy

pytestmark = [pytest.mark.lab, pytest.mark.timeout(FIRST_BUILD_S)]


def test_a_real_kube_proxy_can_be_had_and_is_what_was_asked_for() -> None:
    path = kube_proxy("1.37.2")
    check_program(path, Component.KUBE_PROXY, "v1.37.2", host_architecture())
