"""get, list and remove, against a mirror on loopback. All of it is for s390x: what is fetched is not run."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from proxybench.cli.main import cli
from tests.unit.releases.elf import elf
from tests.unit.releases.fake_go import FakeGo
from tests.unit.releases.mirror import Mirror, mirror

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAM = elf("s390x", bytes(1_000_000))
ARCH = ("--arch", "s390x")
HOME = Path(__file__).parents[3]


def call(*args: str) -> Result:
    return CliRunner().invoke(cli, ["kube-proxy", *args])


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "programs").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "programs"))
    monkeypatch.setenv("PROXYBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache/bin"


@pytest.fixture
def served(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    with mirror() as running:
        monkeypatch.setenv("PROXYBENCH_RELEASES_URL", running.url)
        for version in ("v1.33.13", "v1.37.2"):
            running.publish(version, "s390x", "kube-proxy", PROGRAM)
        yield running


def test_get_prints_where_each_version_is(served: Mirror, cache: Path) -> None:
    result = call("get", "1.37.2", "v1.33.13", *ARCH)
    assert (result.exit_code, result.stdout) == (
        0,
        f"{cache}/v1.37.2/s390x/kube-proxy\n{cache}/v1.33.13/s390x/kube-proxy\n",
    )
    assert result.stderr == (
        f"downloading kube-proxy v1.37.2 (s390x) from {served.url}\n"
        f"downloading kube-proxy v1.33.13 (s390x) from {served.url}\n"
    )


def test_get_from_a_mirror_that_is_named(served: Mirror, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROXYBENCH_RELEASES_URL", "http://127.0.0.1:1")
    assert call("get", "1.37.2", *ARCH, "--base-url", served.url).exit_code == 0


def test_nothing_is_fetched_when_one_version_is_no_version(served: Mirror) -> None:
    result = call("get", "1.37.2", "1.33", *ARCH)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        'error: "1.33" names no single release of kube-proxy; write all three numbers, such as v1.33.2\n'
    )
    assert served.asked == []


def test_get_what_is_not_there(served: Mirror) -> None:
    result = call("get", "1.99.0", *ARCH)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.splitlines()[-1] == (
        f"error: kube-proxy v1.99.0 (s390x) cannot be had: {served.url}/release/v1.99.0/bin/linux/s390x/"
        "kube-proxy.sha512 answers HTTP 404; Go is not installed here (no go on PATH)"
    )


def test_get_from_go(served: Mirror, cache: Path) -> None:
    FakeGo(cache.parents[1] / "programs", arch="s390x")
    assert call("get", "1.37.2", *ARCH, "--source", "go").exit_code == 0
    assert served.asked == []
    assert json.loads(call("list", "--json").stdout)[0]["source"] == "go module k8s.io/kubernetes@v1.37.2"


def test_a_wrong_sum_exits_3(served: Mirror, cache: Path) -> None:
    served.files["/release/v1.37.2/bin/linux/s390x/kube-proxy.sha512"] = b"f" * 128
    result = call("get", "1.37.2", *ARCH)
    assert (result.exit_code, result.stdout) == (3, "")
    assert "is not the published ffffffffffff…; it was deleted" in result.stderr
    assert call("list").stdout == "the cache holds no kube-proxy; `proxybench kube-proxy get VERSION` gets one\n"


def test_a_program_for_another_architecture_exits_3(served: Mirror) -> None:
    served.publish("v1.37.2", "s390x", "kube-proxy", elf("arm64"))
    result = call("get", "1.37.2", *ARCH)
    assert (result.exit_code, result.stderr.splitlines()[-1]) == (
        3,
        "error: kube-proxy is a program for arm64, and one for s390x was asked for",
    )


def test_ctrl_c_keeps_what_has_come(served: Mirror, cache: Path) -> None:
    served.stall = threading.Event()
    partial = cache / "v1.37.2/s390x/kube-proxy.partial"
    process = subprocess.Popen(
        [sys.executable, "-m", "proxybench", "kube-proxy", "get", "1.37.2", *ARCH],
        cwd=HOME,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    end = time.monotonic() + 60
    while not (partial.exists() and partial.stat().st_size == len(PROGRAM) // 2):
        assert time.monotonic() < end
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout, stderr.splitlines()[-1]) == (130, "", "error: interrupted")
    assert partial.stat().st_size == len(PROGRAM) // 2
    served.stall.set()
    served.stall = None
    assert call("get", "1.37.2", *ARCH).exit_code == 0
    assert served.asked[-1][1] == f"bytes={len(PROGRAM) // 2}-"
    assert not partial.exists()


def test_list_shows_where_each_came_from(served: Mirror, cache: Path) -> None:
    call("get", "1.37.2", *ARCH)
    path = f"{cache}/v1.37.2/s390x/kube-proxy"
    source = f"release {served.url}/release/v1.37.2/bin/linux/s390x/kube-proxy"
    header, line = call("list").stdout.splitlines()
    assert header.split() == ["component", "version", "arch", "size", "source", "path"]
    assert line.split() == ["kube-proxy", "v1.37.2", "s390x", "1", "MB", *source.split(), path]
    assert json.loads(call("list", "--json").stdout) == [
        {
            "component": "kube-proxy",
            "version": "v1.37.2",
            "arch": "s390x",
            "source": source,
            "go": "",
            "sha512": hashlib.sha512(PROGRAM).hexdigest(),
            "size": len(PROGRAM),
            "path": path,
        }
    ]


def test_remove_one_version_and_all(served: Mirror, cache: Path) -> None:
    call("get", "1.37.2", "1.33.13", *ARCH)
    result = call("remove", "1.37.2")
    assert (result.exit_code, result.stdout) == (0, "removed kube-proxy v1.37.2 (s390x): 1 MB\n")
    result = call("remove", "1.37.2")
    assert (result.exit_code, result.stderr) == (
        2,
        "error: the cache holds no 1.37.2; `proxybench kube-proxy list` shows what it holds\n",
    )
    (cache / "v1.0.0/s390x").mkdir(parents=True)
    (cache / "v1.0.0/s390x/kube-proxy.partial").write_text("part")
    assert call("remove", "--all").stdout == "removed kube-proxy v1.33.13 (s390x): 1 MB\n"
    assert call("list", "--json").stdout == "[]\n"
    assert [path.name for path in cache.iterdir()] == [".locks"]


@pytest.mark.parametrize("args", [(), ("1.37.2", "--all")])
def test_remove_must_know_what(args: tuple[str, ...], cache: Path) -> None:
    result = call("remove", *args)
    assert (result.exit_code, result.stderr) == (
        2,
        "error: name a version, or --all for all of them; `proxybench kube-proxy list` shows them\n",
    )


def test_help_says_what_it_takes() -> None:
    text = " ".join(call("get", "-h").stdout.split())
    assert "Usage: cli kube-proxy get [OPTIONS] VERSION..." in text
    assert "proxybench kube-proxy get v1.37.2" in text
    assert "PROXYBENCH_RELEASES_URL does the same" in text
