from __future__ import annotations

import sys
from pathlib import Path

import pytest

from proxybench.experiment.requests import Commands
from proxybench.model import Mode
from proxybench.releases.component import host_architecture
from proxybench.releases.prospect import Prospect, Way
from proxybench.subjects.prospects import foresee
from tests.unit.subjects.rig import make_spec


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROXYBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))


def test_a_release_that_is_not_here_is_downloaded() -> None:
    assert foresee(make_spec(), online=False) == Prospect(Way.DOWNLOAD, "v1.37.2")


def test_an_address_of_releases_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROXYBENCH_RELEASES_URL", "ftp://x")
    found = foresee(make_spec(), online=True)
    assert (found.way, found.reason) == (
        Way.NONE,
        '"ftp://x" is no base address; write one such as https://dl.k8s.io',
    )


def test_a_file_says_its_version_itself(tmp_path: Path) -> None:
    path = tmp_path / "kube-proxy"
    path.write_text("")
    reason = f"{path}: is no Linux program; give the kube-proxy itself"
    fix = f"give a kube-proxy for linux/{host_architecture()}"
    assert foresee(make_spec("", path=path), online=False) == Prospect(Way.NONE, "", reason, fix)
    path = Path(sys.executable).resolve()
    found = foresee(make_spec("", path=path), online=False)
    reason = f"{path}: does not say that it is a kube-proxy when it is asked for its --version"
    assert (found.way, found.reason) == (Way.NONE, reason)


def test_a_folder_that_is_no_checkout(tmp_path: Path) -> None:
    found = foresee(make_spec("", source=tmp_path), online=False)
    assert found.reason.startswith(f"{tmp_path}: is no checkout of Kubernetes")
    assert (found.way, found.fix) == (Way.NONE, "give the folder of a checkout of kubernetes")


def test_the_reference_is_part_of_this_program() -> None:
    spec = make_spec("0.1.0", Mode.USERSPACE, "reference")
    assert foresee(spec, online=True) == Prospect(Way.INCLUDED, "0.1.0")


def test_a_command_is_looked_for_here(tmp_path: Path) -> None:
    spec = make_spec("", kind="command", commands=Commands(start=("proxy", "--now"), ready=("true",)))
    lacking = Prospect(Way.NONE, "", "proxy is not on this machine", "install it, or write its full path")
    assert foresee(spec, online=False) == lacking
    (tmp_path / "proxy").write_text("#!/bin/sh\n")
    (tmp_path / "proxy").chmod(0o755)
    assert foresee(spec, online=False) == Prospect(Way.COMMAND)
    spec = make_spec("", kind="command", commands=Commands(start=("{workdir}/proxy",), ready=("true",)))
    assert foresee(spec, online=False) == Prospect(Way.COMMAND)  # only the node knows
