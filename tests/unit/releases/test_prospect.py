"""What would be had, without getting it: from the cache, a mirror on loopback, and a ``go`` that is a script."""

from __future__ import annotations

import hashlib
import subprocess
from typing import TYPE_CHECKING

import pytest

from proxybench.errors import UsageError
from proxybench.releases import prospect
from proxybench.releases.component import Component, host_architecture
from proxybench.releases.download import Limits
from proxybench.releases.ensure import Surroundings
from proxybench.releases.prospect import Prospect, Way, foresee_checkout, foresee_release
from proxybench.releases.store import Binary, Store
from tests.unit.releases.fake_go import FakeGo
from tests.unit.releases.mirror import mirror

if TYPE_CHECKING:
    from pathlib import Path

ARCH = host_architecture()
NOWHERE = "http://127.0.0.1:1"
NO_RELEASE = f"{NOWHERE}/release/v1.37.2/bin/linux/{ARCH}/kube-proxy.sha512 cannot be reached (Connection refused)"
NO_GO = "Go is not installed here (no go on PATH)"
MEND = "name a mirror with PROXYBENCH_RELEASES_URL, install Go, or give a file by path:"


def around(home: Path, url: str = NOWHERE) -> Surroundings:
    environ = {"PATH": str(home / "go"), "PROXYBENCH_RELEASES_URL": url}
    return Surroundings(home / "cache", environ, Limits(silence_s=5, attempts=1))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "go").mkdir()
    return tmp_path


def keep(home: Path) -> None:
    store = Store(home / "cache")
    place = store.place("kube-proxy", "v1.37.2", ARCH)
    (home / "built").write_bytes(b"program")
    total = hashlib.sha512(b"program").hexdigest()
    store.keep(home / "built", Binary(place, "kube-proxy", "v1.37.2", ARCH, "release", total))


@pytest.mark.parametrize("online", [True, False])
def test_what_the_cache_holds_is_asked_of_nobody(home: Path, online: bool) -> None:
    keep(home)
    assert foresee_release("v1.37.2", online=online, surroundings=around(home)) == Prospect(Way.CACHED, "v1.37.2")


def test_without_the_network_it_is_known_only_what_would_be_tried(home: Path) -> None:
    assert foresee_release("v1.37.2", online=False, surroundings=around(home)) == Prospect(Way.DOWNLOAD, "v1.37.2")
    FakeGo(home / "go")
    found = foresee_release("v1.37.2", online=False, surroundings=around(home))
    assert found == Prospect(Way.DOWNLOAD_OR_GO, "v1.37.2")
    assert not (home / "go/argv").exists()
    assert not (home / "cache").exists()


def test_a_published_sum_is_a_release(home: Path) -> None:
    with mirror() as served:
        path = served.publish("v1.37.2", ARCH, "kube-proxy", b"program")
        found = foresee_release("v1.37.2", online=True, surroundings=around(home, served.url))
        assert found == Prospect(Way.DOWNLOAD, "v1.37.2")
        assert served.asked == [(f"{path}.sha512", "")]
    assert not (home / "cache").exists()


def test_go_is_asked_where_nothing_can_be_downloaded(home: Path) -> None:
    go = FakeGo(home / "go")
    assert foresee_release("v1.37.2", online=True, surroundings=around(home)) == Prospect(Way.GO, "v1.37.2")
    assert go.argv == ["list -m k8s.io/kubernetes@v1.37.2"]


def test_no_way_at_all_names_each_reason(home: Path) -> None:
    found = foresee_release("v1.37.2", online=True, surroundings=around(home))
    assert found == Prospect(Way.NONE, "v1.37.2", f"{NO_RELEASE}; {NO_GO}", MEND)


def test_a_version_that_nobody_released(home: Path) -> None:
    FakeGo(home / "go", error="k8s.io/kubernetes@v1.37.99: invalid version: unknown revision v1.37.99")
    with mirror() as served:
        found = foresee_release("v1.37.99", online=True, surroundings=around(home, served.url))
        sum_url = f"{served.url}/release/v1.37.99/bin/linux/{ARCH}/kube-proxy.sha512"
    reason = (
        f"{sum_url} answers HTTP 404; "
        "Go cannot fetch k8s.io/kubernetes@v1.37.99: invalid version: unknown revision v1.37.99"
    )
    assert found == Prospect(Way.NONE, "v1.37.99", reason, "name a version that was released")


def test_a_base_address_that_is_none(home: Path) -> None:
    with pytest.raises(UsageError, match=r'^"ftp://x" is no base address; write one such as '):
        foresee_release("v1.37.2", online=True, surroundings=around(home, "ftp://x"))


def checkout(home: Path) -> Path:
    folder = home / "kubernetes"
    (folder / "cmd/kube-proxy").mkdir(parents=True)
    (folder / "go.mod").write_text("module k8s.io/kubernetes\n")
    (folder / "cmd/kube-proxy/proxy.go").write_text("package main\n")
    words = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false", "-c", "tag.gpgsign=false"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "All"], ["tag", "v1.37.2"]):
        subprocess.run(["git", *words, "-C", str(folder), *command], check=True, timeout=30)
    return folder


def test_a_checkout_is_built_with_go(home: Path) -> None:
    folder = checkout(home)
    assert foresee_checkout(folder, around(home)) == Prospect(Way.NONE, "v1.37.2", NO_GO, "install Go")
    FakeGo(home / "go")
    assert foresee_checkout(folder, around(home)) == Prospect(Way.GO, "v1.37.2")


def test_a_cache_that_cannot_be_written_takes_no_program(home: Path) -> None:
    folder = checkout(home)
    FakeGo(home / "go")
    (home / "cache").touch()
    reason, fix = f"{home}/cache: cannot be written", "name another folder with PROXYBENCH_CACHE"
    lacking = Prospect(Way.NONE, "v1.37.2", reason, fix)
    assert foresee_release("v1.37.2", online=False, surroundings=around(home)) == lacking
    assert foresee_release("v1.37.2", online=True, surroundings=around(home)) == lacking
    assert foresee_checkout(folder, around(home)) == lacking
    assert (home / "cache").read_bytes() == b""


def test_a_build_of_the_same_commit_is_cached_until_something_changes(home: Path) -> None:
    folder = checkout(home)
    words = ["git", "-C", str(folder), "rev-parse", "HEAD"]
    commit = subprocess.run(words, check=True, capture_output=True, text=True, timeout=30).stdout
    store = Store(home / "cache")
    place = store.place(Component.KUBE_PROXY, f"commit-{commit[:14]}", ARCH)
    (home / "built").write_bytes(b"program")
    total = hashlib.sha512(b"program").hexdigest()
    store.keep(home / "built", Binary(place, Component.KUBE_PROXY, "v1.37.2", ARCH, "checkout", total))
    assert foresee_checkout(folder, around(home)) == Prospect(Way.CACHED, "v1.37.2")
    (folder / "new").touch()
    assert foresee_checkout(folder, around(home)) == Prospect(Way.NONE, "v1.37.2-dirty", NO_GO, "install Go")


def test_what_is_no_checkout(home: Path) -> None:
    with pytest.raises(UsageError, match="is no checkout of Kubernetes"):
        foresee_checkout(home, around(home))


def test_nothing_is_left_of_asking_go(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(home / "tmp"))
    FakeGo(home / "go")
    prospect.foresee_release("v1.37.2", online=True, surroundings=around(home))
    assert list((home / "tmp").iterdir()) == []
