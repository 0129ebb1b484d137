"""Where a driver says that a subject's program came from."""

from __future__ import annotations

from dataclasses import replace

import pytest

from proxybench import __version__
from proxybench.errors import ProxierError
from proxybench.experiment.requests import Commands
from proxybench.model import Mode
from proxybench.subjects.registry import drivers
from proxybench.testing.clock import FakeClock
from tests.unit.subjects.rig import FakeBinaries, make_binary, make_spec


def test_a_kube_proxy_came_from_where_its_binary_did() -> None:
    binary = make_binary()
    driver = drivers(FakeBinaries(binary), FakeClock())["kube-proxy"]
    spec = driver.resolve(make_spec())
    assert driver.source(spec) == f"release https://example (SHA-512 {binary.sha512[:16]}…)"
    built = replace(binary, source="go module k8s.io/kubernetes@v1.37.2", go="go1.27.3")
    driver = drivers(FakeBinaries(built), FakeClock())["kube-proxy"]
    words = "go module k8s.io/kubernetes@v1.37.2, built with go1.27.3"
    assert driver.source(driver.resolve(spec)) == f"{words} (SHA-512 {binary.sha512[:16]}…)"


def test_a_kube_proxy_that_was_not_looked_for() -> None:
    with pytest.raises(ProxierError, match="was not resolved"):
        drivers(FakeBinaries(make_binary()), FakeClock())["kube-proxy"].source(make_spec())


def test_the_others() -> None:
    kinds = drivers(FakeBinaries(make_binary()), FakeClock())
    assert kinds["reference"].source(make_spec("", Mode.IPVS, "reference")) == f"part of proxybench {__version__}"
    commands = Commands(start=("/usr/bin/proxy", "--token", "x"), ready=("true",))
    assert kinds["command"].source(make_spec("", kind="command", commands=commands)) == "command /usr/bin/proxy"
