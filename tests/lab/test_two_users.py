"""Two users of one machine: what one has left or holds is told apart from the other's, and nobody touches it."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from proxybench import scratch
from proxybench.errors import ProxybenchError
from proxybench.releases.ensure import Source, Surroundings, ensure
from proxybench.releases.store import Binary, Store, sha512
from proxybench.report.page import write_report
from proxybench.results.folder import open_run
from proxybench.targets.claim import claimed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can be two users"),
]

ONE, OTHER = 54_321, 54_322  # of whom passwd knows nothing
PREFIX = "proxybench-two-users."
GOLDEN = Path(__file__).parents[1] / "golden/run-v1"


def as_user(uid: int, call: Callable[[], object]) -> str:
    """Return what a call returned in a process of that user's, or how it was refused; it holds nothing any more."""
    reader, writer = os.pipe()
    if (pid := os.fork()) == 0:
        try:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            said = str(call())
        except ProxybenchError as error:
            said = f"error: {error}"
        except BaseException as error:  # noqa: BLE001 - the test is told of anything
            said = f"unexpected {error!r}"
        os.write(writer, said.encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as told:
        said = told.read()
    os.waitpid(pid, 0)
    return said


@pytest.fixture(autouse=True)
def shared(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a temporary folder that is everybody's, as /tmp is."""
    folder = Path(tempfile.mkdtemp(prefix="two-users."))
    folder.chmod(0o1777)
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    shutil.rmtree(folder)


def test_a_killed_ones_folder_is_removed_by_its_own_user_alone(shared: Path) -> None:
    left = as_user(ONE, lambda: scratch.make(PREFIX))
    assert Path(left).stat().st_uid == ONE
    assert as_user(OTHER, lambda: scratch.sweep(PREFIX)) == "()"
    assert Path(left, scratch.OWNER).exists()
    assert as_user(ONE, lambda: [str(one) for one in scratch.sweep(PREFIX)]) == f"['{left}']"
    assert list(shared.iterdir()) == []


def test_a_living_ones_folder_is_left_by_everybody() -> None:
    with scratch.folder(PREFIX) as mine:
        for uid in (0, ONE):
            assert as_user(uid, lambda: scratch.sweep(PREFIX)) == "()"
        assert (mine / scratch.OWNER).exists()


def test_a_cluster_that_is_measured_by_one_is_refused_to_the_other() -> None:
    def claim() -> bool:
        with claimed("two users") as free:
            return free

    with claimed("two users") as free:
        assert free
        assert as_user(ONE, claim) == "False"
    assert as_user(OTHER, claim) == "True"


def say(_: str) -> None: ...


def write_program(folder: Path, version: str) -> Binary:
    """Put a program into a cache, as a download does."""
    store = Store(folder)
    place = store.place("kube-proxy", version, "amd64")
    with store.lock(place, lambda: None):
        part = place.with_name("kube-proxy.partial")
        part.write_text("#!/bin/sh\n")
        return store.keep(part, Binary(place, "kube-proxy", version, "amd64", "release https://x", sha512(part)))


def get(folder: Path, version: str) -> str:
    around = Surroundings(folder, {}, check=lambda *_: None)
    return ensure(
        "kube-proxy", version, report=say, base_url="http://127.0.0.1:9", source=Source.RELEASE, surroundings=around
    ).source


def test_a_cache_of_two_is_the_one_s_who_made_it_and_read_by_the_other(shared: Path) -> None:
    cache = shared / "bin"
    refused = f"error: {cache}: cannot be written (Permission denied); name another folder with PROXYBENCH_CACHE"
    as_user(ONE, lambda: write_program(cache, "v1.37.2"))
    assert as_user(OTHER, lambda: get(cache, "1.37.2")) == "release https://x"
    assert as_user(OTHER, lambda: [one.version for one in Store(cache).all()]) == "['v1.37.2']"
    assert as_user(OTHER, lambda: get(cache, "1.36.3")) == refused
    assert as_user(OTHER, lambda: Store(cache).remove(Store(cache).all()[0])) == refused


@pytest.mark.parametrize("left", ["v1.36.3/amd64/kube-proxy.partial", ".build-v1.36.3-amd64-kube-proxy/x"])
def test_what_the_other_s_download_or_build_left_is_neither_gone_on_with_nor_removed(shared: Path, left: str) -> None:
    cache = shared / "bin"
    refused = f"error: {cache}: cannot be written (Permission denied); name another folder with PROXYBENCH_CACHE"

    def leave() -> None:
        write_program(cache, "v1.36.3")
        (cache / left).parent.mkdir(exist_ok=True)
        (cache / left).write_text("half")
        Store(cache).remove(Store(cache).all()[0])

    as_user(ONE, leave)
    assert as_user(OTHER, lambda: get(cache, "1.36.3")) == refused
    assert as_user(OTHER, lambda: Store(cache).remove_rests()) == refused
    assert (cache / left).read_text() == "half"
    as_user(ONE, lambda: Store(cache).remove_rests())
    assert not (cache / left).exists()


def test_a_cache_that_only_its_owner_reads_does_not_look_empty(shared: Path) -> None:
    cache = shared / "bin"
    as_user(ONE, lambda: write_program(cache, "v1.37.2"))
    cache.chmod(0o700)
    refused = f"error: {cache}: cannot be {{}} (Permission denied); name another folder with PROXYBENCH_CACHE"
    assert as_user(OTHER, lambda: Store(cache).all()) == refused.format("read")
    assert as_user(OTHER, lambda: get(cache, "1.37.2")) == refused.format("written")


def test_anothers_run_is_read_and_not_written(shared: Path) -> None:
    run = shared / "run"
    shutil.copytree(GOLDEN, run)
    refused = as_user(ONE, lambda: write_report(run))
    assert refused.startswith(f"error: {run}/figures: cannot be written (Permission denied): ")
    assert as_user(ONE, lambda: open_run(run).manifest.state) == "complete"
    run.chmod(0o700)
    assert as_user(ONE, lambda: open_run(run)) == f"error: {run}: cannot be read (Permission denied)"
