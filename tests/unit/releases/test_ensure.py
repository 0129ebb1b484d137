"""Programs from a mirror on loopback, and from a ``go`` that is a script."""

from __future__ import annotations

import hashlib
import json
import threading
from typing import TYPE_CHECKING

import pytest

from proxybench.errors import BuildError, TransferError, UnavailableError, UsageError
from proxybench.releases.download import Limits
from proxybench.releases.ensure import Source, Surroundings, ensure
from proxybench.releases.store import Binary
from tests.unit.releases.elf import elf
from tests.unit.releases.fake_go import FakeGo
from tests.unit.releases.mirror import Mirror, mirror

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from proxybench.releases.component import Component

PROGRAM = elf("amd64", b"kube-proxy" * 1000)
SUM = hashlib.sha512(PROGRAM).hexdigest()
QUICK = Limits(silence_s=5, attempts=2, pause_s=0.0, every_s=60.0, free=lambda _: 10**12)
NOWHERE = "http://127.0.0.1:1"


class House:
    """A cache, what was reported, and what was asked of the last check."""

    def __init__(self, home: Path, served: Mirror) -> None:
        self.cache = home / "cache"
        self.path = home / "programs"
        self.path.mkdir()
        self.served = served
        self.lines: list[str] = []
        self.checked: list[tuple[str, str, str]] = []
        self.fails: Exception | None = None
        self.environ: dict[str, str] = {"PATH": str(self.path)}

    def check(self, path: Path, component: Component, version: str, arch: str) -> None:
        assert path.stat().st_mode & 0o777 == 0o755
        self.checked.append((component, version, arch))
        if self.fails:
            raise self.fails

    def get(self, version: str = "v1.37.2", source: Source = Source.AUTO, component: str = "kube-proxy") -> Binary:
        around = Surroundings(self.cache, self.environ, QUICK, self.check)
        return ensure(
            component,
            version,
            report=self.lines.append,
            arch="amd64",
            source=source,
            surroundings=around,
            base_url=None if "PROXYBENCH_RELEASES_URL" in self.environ else self.served.url,
        )

    @property
    def place(self) -> Path:
        return self.cache / "v1.37.2/amd64/kube-proxy"


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with mirror() as served:
        yield House(tmp_path, served)


def test_a_release_is_downloaded_verified_and_recorded(house: House) -> None:
    path = house.served.publish("v1.37.2", "amd64", "kube-proxy", PROGRAM)
    source = f"release {house.served.url}{path}"
    found = house.get("1.37.2")
    assert found == Binary(house.place, "kube-proxy", "v1.37.2", "amd64", source, SUM)
    assert found.path.read_bytes() == PROGRAM
    assert found.path.stat().st_mode & 0o777 == 0o755
    assert json.loads((house.place.parent / "kube-proxy.json").read_text()) == {
        "component": "kube-proxy",
        "version": "v1.37.2",
        "arch": "amd64",
        "source": source,
        "sha512": SUM,
        "go": "",
    }
    assert house.checked == [("kube-proxy", "v1.37.2", "amd64")]
    assert house.lines == [f"downloading kube-proxy v1.37.2 (amd64) from {house.served.url}"]
    assert sorted(file.name for file in house.place.parent.iterdir()) == ["kube-proxy", "kube-proxy.json"]


def test_the_second_time_nothing_is_fetched(house: House) -> None:
    house.served.publish("v1.37.2", "amd64", "kube-proxy", PROGRAM)
    first = house.get()
    house.served.asked.clear()
    assert house.get() == first
    assert house.served.asked == []


def test_a_program_that_was_changed_in_the_cache_is_fetched_anew(house: House) -> None:
    house.served.publish("v1.37.2", "amd64", "kube-proxy", PROGRAM)
    house.get().path.write_bytes(b"changed")
    assert house.get().path.read_bytes() == PROGRAM


def test_the_mirror_may_be_named_by_the_environment(house: House) -> None:
    house.served.publish("v1.37.2", "amd64", "kube-proxy", PROGRAM)
    house.environ["PROXYBENCH_RELEASES_URL"] = f"{house.served.url}/"
    assert house.get().source == f"release {house.served.url}/release/v1.37.2/bin/linux/amd64/kube-proxy"


def test_a_base_address_is_http(house: House) -> None:
    house.environ["PROXYBENCH_RELEASES_URL"] = "file:///etc"
    with pytest.raises(UsageError) as error:
        house.get()
    assert str(error.value) == '"file:///etc" is no base address; write one such as https://dl.k8s.io'


def test_what_fails_the_last_check_is_not_kept(house: House) -> None:
    house.served.publish("v1.37.2", "amd64", "kube-proxy", PROGRAM)
    house.fails = TransferError("kube-proxy is a program for arm64, and one for amd64 was asked for")
    with pytest.raises(TransferError, match="is a program for arm64"):
        house.get()
    assert list(house.place.parent.iterdir()) == []


def test_a_broken_download_does_not_turn_into_a_build(house: House) -> None:
    FakeGo(house.path)
    house.served.publish("v1.37.2", "amd64", "kube-proxy", PROGRAM)
    house.served.cuts = [100, 0]
    with pytest.raises(TransferError, match="the same command goes on from there"):
        house.get()
    assert (house.place.parent / "kube-proxy.partial").stat().st_size == 100
    assert house.get().path.read_bytes() == PROGRAM
    assert house.served.asked[-1][1] == "bytes=100-"


def test_two_at_once_fetch_once(house: House) -> None:
    path = house.served.publish("v1.37.2", "amd64", "kube-proxy", PROGRAM)
    found: list[Binary] = []
    others = [threading.Thread(target=lambda: found.append(house.get())) for _ in range(4)]
    for other in others:
        other.start()
    for other in others:
        other.join(30)
    assert len(found) == 4
    assert len(set(found)) == 1
    assert [asked for asked, _ in house.served.asked] == [f"{path}.sha512", path]


def test_without_a_release_and_without_go_both_reasons_are_given(house: House) -> None:
    url = f"{house.served.url}/release/v1.99.0/bin/linux/amd64/kube-proxy.sha512"
    with pytest.raises(UnavailableError) as error:
        house.get("1.99.0")
    assert str(error.value) == (
        f"kube-proxy v1.99.0 (amd64) cannot be had: {url} answers HTTP 404; Go is not installed here (no go on PATH)"
    )


def test_no_network_and_no_go(house: House) -> None:
    house.environ["PROXYBENCH_RELEASES_URL"] = NOWHERE
    with pytest.raises(UnavailableError) as error:
        house.get()
    assert str(error.value) == (
        f"kube-proxy v1.37.2 (amd64) cannot be had: {NOWHERE}/release/v1.37.2/bin/linux/amd64/kube-proxy.sha512 cannot "
        "be reached (Connection refused); Go is not installed here (no go on PATH)"
    )


def test_a_version_that_neither_knows(house: House) -> None:
    FakeGo(house.path, error="k8s.io/kubernetes@v1.99.0: invalid version: unknown revision v1.99.0")
    url = f"{house.served.url}/release/v1.99.0/bin/linux/amd64/kube-proxy.sha512"
    with pytest.raises(UnavailableError) as error:
        house.get("1.99.0")
    assert str(error.value) == (
        f"there is no kube-proxy v1.99.0 (amd64): {url} answers HTTP 404; Go cannot fetch k8s.io/kubernetes@v1.99.0: "
        "invalid version: unknown revision v1.99.0"
    )
    with pytest.raises(UnavailableError, match=r"^there is no kube-proxy v1\.99\.0 \(amd64\): Go cannot fetch"):
        house.get("1.99.0", Source.GO)


def test_only_the_release_when_that_is_asked_for(house: House) -> None:
    FakeGo(house.path)
    with pytest.raises(UnavailableError, match=r"^there is no kube-proxy v1\.37\.2 \(amd64\): http.* HTTP 404$"):
        house.get(source=Source.RELEASE)


def test_without_a_release_it_is_built_and_says_so(house: House) -> None:
    go = FakeGo(house.path)
    found = house.get()
    assert found == Binary(
        house.place,
        "kube-proxy",
        "v1.37.2",
        "amd64",
        "go module k8s.io/kubernetes@v1.37.2",
        hashlib.sha512(go.program).hexdigest(),
        "go1.26.8",
    )
    assert found.path.read_bytes() == go.program
    assert house.lines == [
        f"no download: {house.served.url}/release/v1.37.2/bin/linux/amd64/kube-proxy.sha512 answers HTTP 404",
        "fetching the Go module k8s.io/kubernetes@v1.37.2",
        "building kube-proxy v1.37.2 with go1.26.8: takes some minutes the first time",
    ]
    assert [path.name for path in house.cache.iterdir() if path.name.startswith(".build")] == []


def test_etcd_is_always_built(house: House) -> None:
    FakeGo(house.path)
    assert house.get("3.6.16", component="etcd").source == "go module go.etcd.io/etcd/server/v3@v3.6.16"
    assert house.served.asked == []
    with pytest.raises(UnavailableError) as error:
        house.get("3.6.15", Source.RELEASE, component="etcd")
    assert str(error.value) == (
        "etcd v3.6.15 (amd64) cannot be had: it is not part of Kubernetes' releases; take --source go"
    )


def test_a_build_that_fails(house: House) -> None:
    FakeGo(house.path, build="echo 'x.go:1: no space left on device' >&2; exit 1")
    with pytest.raises(BuildError) as failed:
        house.get(source=Source.GO)
    reason = "go build failed; its last lines:\nx.go:1: no space left on device"
    assert str(failed.value) == reason
    with pytest.raises(UnavailableError) as error:
        house.get()
    assert str(error.value).endswith(f"answers HTTP 404; {reason}")


def test_a_program_in_a_cache_that_cannot_be_written_is_taken(house: House) -> None:
    house.served.publish("v1.37.2", "amd64", "kube-proxy", PROGRAM)
    first = house.get()
    for lock in (house.cache / ".locks").iterdir():
        lock.unlink()
    (house.cache / ".locks").rmdir()
    (house.cache / ".locks").write_text("a file")  # root writes everywhere but below a file
    assert house.get() == first
    with pytest.raises(UsageError) as error:
        house.get("v1.36.3")
    reason = "cannot be written (File exists); name another folder with PROXYBENCH_CACHE"
    assert str(error.value) == f"{house.cache}: {reason}"


def test_a_cache_that_cannot_be_written(house: House) -> None:
    house.cache.write_text("a file")
    with pytest.raises(UsageError) as error:
        house.get()
    assert str(error.value) == (
        f"{house.cache}: cannot be written (Not a directory); name another folder with PROXYBENCH_CACHE"
    )
