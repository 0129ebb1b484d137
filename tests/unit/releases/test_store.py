from __future__ import annotations

import hashlib
import threading
from typing import TYPE_CHECKING

import pytest

from proxybench.releases.store import Binary, Store

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = b"a program"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "bin")


def put(store: Store, version: str, arch: str = "amd64", component: str = "kube-proxy") -> Binary:
    place = store.place(component, version, arch)
    with store.lock(place, pytest.fail), store.workshop(place) as folder:
        file = folder / "built"
        file.write_bytes(PROGRAM)
        total = hashlib.sha512(PROGRAM).hexdigest()
        return store.keep(file, Binary(place, component, version, arch, "release URL", total))


def test_programs_are_found_as_they_were_kept(store: Store, tmp_path: Path) -> None:
    kept = put(store, "v1.37.2")
    assert kept.path == tmp_path / "bin/v1.37.2/amd64/kube-proxy"
    assert store.find(kept.path) == kept
    assert (kept.size, kept.path.stat().st_mode & 0o777) == (9, 0o755)
    assert store.find(store.place("kube-proxy", "v1.37.3", "amd64")) is None


@pytest.mark.parametrize("record", ["", "{", "[]", '{"component": "kube-proxy"}', '{"unknown": 1}'])
def test_a_program_without_its_record_counts_as_absent(store: Store, record: str) -> None:
    kept = put(store, "v1.37.2")
    kept.path.with_name("kube-proxy.json").write_text(record)
    assert store.find(kept.path) is None
    assert store.all() == ()


@pytest.mark.parametrize("content", [b"", PROGRAM[:4], PROGRAM + b"x", b"\0" * len(PROGRAM)])
def test_a_program_that_is_cut_short_or_changed_counts_as_absent(store: Store, content: bytes) -> None:
    kept = put(store, "v1.37.2")
    kept.path.write_bytes(content)
    assert store.find(kept.path) is None


def test_a_program_that_a_copy_of_the_cache_made_no_program_is_one_again(store: Store) -> None:
    kept = put(store, "v1.37.2")
    kept.path.chmod(0o644)
    assert store.find(kept.path) == kept
    assert kept.path.stat().st_mode & 0o777 == 0o755


def test_they_are_listed_by_the_numbers_of_their_versions(store: Store) -> None:
    for version in ("v1.37.2", "commit-0a1b2c3", "v1.9.11", "v1.37.10"):
        put(store, version)
    put(store, "v1.9.11", arch="arm64")
    put(store, "v1.9.11", component="etcd")
    assert [(binary.version, binary.arch, binary.component) for binary in store.all()] == [
        ("commit-0a1b2c3", "amd64", "kube-proxy"),
        ("v1.9.11", "amd64", "etcd"),
        ("v1.9.11", "amd64", "kube-proxy"),
        ("v1.9.11", "arm64", "kube-proxy"),
        ("v1.37.2", "amd64", "kube-proxy"),
        ("v1.37.10", "amd64", "kube-proxy"),
    ]


def test_a_cache_that_is_not_there_is_empty(store: Store) -> None:
    assert store.all() == ()
    store.remove_rests()


def test_removing_leaves_neither_file_nor_empty_folder(store: Store, tmp_path: Path) -> None:
    first, second = put(store, "v1.37.2"), put(store, "v1.37.2", arch="arm64")
    store.remove(first)
    assert store.all() == (second,)
    store.remove(second)
    assert [path.name for path in (tmp_path / "bin").iterdir()] == [".locks"]


def test_rests_are_removed_but_not_those_in_use(store: Store, tmp_path: Path) -> None:
    kept = put(store, "v1.37.2")
    with store.lock(store.place("kube-proxy", "v1.99.0", "amd64"), pytest.fail):
        pass  # no such version
    for version in ("v1.0.0", "v1.0.1"):
        place = store.place("kube-proxy", version, "amd64")
        with store.lock(place, pytest.fail):
            place.with_name("kube-proxy.partial").write_bytes(b"part")
            left = store.workshop(place)
            left.__enter__()  # a process that is killed here leaves it
    locked, done = threading.Event(), threading.Event()

    def download() -> None:
        with store.lock(store.place("kube-proxy", "v1.0.1", "amd64"), lambda: None):
            locked.set()
            done.wait(10)

    other = threading.Thread(target=download)
    other.start()
    assert locked.wait(10)
    store.remove_rests()
    done.set()
    other.join()
    left_files = sorted(str(path.relative_to(tmp_path / "bin")) for path in (tmp_path / "bin").rglob("*"))
    assert [name for name in left_files if not name.startswith(".locks")] == [
        ".build-v1.0.1-amd64-kube-proxy",
        "v1.0.1",
        "v1.0.1/amd64",
        "v1.0.1/amd64/kube-proxy.partial",
        "v1.37.2",
        "v1.37.2/amd64",
        "v1.37.2/amd64/kube-proxy",
        "v1.37.2/amd64/kube-proxy.json",
    ]
    assert store.all() == (kept,)


def test_a_workshop_starts_empty_after_one_was_left(store: Store) -> None:
    place = store.place("kube-proxy", "v1.0.0", "amd64")
    with store.lock(place, pytest.fail):
        left = store.workshop(place)
        (left.__enter__() / "rest").write_text("rest")
        with store.workshop(place) as folder:
            assert list(folder.iterdir()) == []
        assert not folder.exists()
