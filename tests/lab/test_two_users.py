"""Two users of one machine: what one has left or holds is told apart from the other's, and nobody touches it."""

from __future__ import annotations

import json
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
from proxybench.targets.lab import artifacts, manage, process
from proxybench.targets.lab.cluster_file import to_json
from tests.unit.targets.test_artifacts import Machine
from tests.unit.targets.test_cluster_file import EXAMPLE

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


def refused(place: Path, how: str = "written") -> str:
    return f"error: {place}: cannot be {how} (Permission denied); name another folder with PROXYBENCH_CACHE"


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
    as_user(ONE, lambda: write_program(cache, "v1.37.2"))
    assert as_user(OTHER, lambda: get(cache, "1.37.2")) == "release https://x"
    assert as_user(OTHER, lambda: [one.version for one in Store(cache).all()]) == "['v1.37.2']"
    assert as_user(OTHER, lambda: get(cache, "1.36.3")) == refused(cache)
    assert as_user(OTHER, lambda: Store(cache).remove(Store(cache).all()[0])) == refused(cache)


@pytest.mark.parametrize("left", ["v1.36.3/amd64/kube-proxy.partial", ".build-v1.36.3-amd64-kube-proxy/x"])
def test_what_the_other_s_download_or_build_left_is_neither_gone_on_with_nor_removed(shared: Path, left: str) -> None:
    cache = shared / "bin"

    def leave() -> None:
        write_program(cache, "v1.36.3")
        (cache / left).parent.mkdir(exist_ok=True)
        (cache / left).write_text("half")
        Store(cache).remove(Store(cache).all()[0])

    as_user(ONE, leave)
    assert as_user(OTHER, lambda: get(cache, "1.36.3")) == refused(cache)
    assert as_user(OTHER, lambda: Store(cache).remove_rests()) == refused(cache)
    assert (cache / left).read_text() == "half"
    as_user(ONE, lambda: Store(cache).remove_rests())
    assert not (cache / left).exists()


def test_a_cache_that_only_its_owner_reads_does_not_look_empty(shared: Path) -> None:
    cache = shared / "bin"
    as_user(ONE, lambda: write_program(cache, "v1.37.2"))
    cache.chmod(0o700)
    assert as_user(OTHER, lambda: Store(cache).all()) == refused(cache, "read")
    assert as_user(OTHER, lambda: get(cache, "1.37.2")) == refused(cache)


def test_anothers_run_is_read_and_not_written(shared: Path) -> None:
    run = shared / "run"
    shutil.copytree(GOLDEN, run)
    said = as_user(ONE, lambda: write_report(run))
    assert said.startswith(f"error: {run}/figures: cannot be written (Permission denied): ")
    assert as_user(ONE, lambda: open_run(run).manifest.state) == "complete"
    run.chmod(0o700)
    assert as_user(ONE, lambda: open_run(run)) == f"error: {run}: cannot be read (Permission denied)"


@pytest.fixture
def machine(shared: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Return one whose apt and dpkg are told what to do; its cache is everybody's, as /tmp is."""
    home = shared / "machine"
    home.mkdir()
    made = Machine(home, monkeypatch)
    made.calls.chmod(0o666)
    made.cache.mkdir()
    made.cache.chmod(0o1777)
    return made


def unpack(kernel: str | None, umask: int = 0o022) -> Path:
    os.umask(umask)
    return artifacts.ensure(kernel, say).root


@pytest.mark.parametrize("mode", [0o755, 0o1777])
def test_what_the_guest_boots_is_fetched_by_one_and_booted_by_the_other(machine: Machine, mode: int) -> None:
    os.chown(machine.cache, ONE, ONE)
    machine.cache.chmod(mode)
    assert as_user(ONE, lambda: unpack("6.1")) == str(machine.cache / "vm-6.1")
    machine.calls.write_text("")
    assert as_user(OTHER, lambda: unpack("6.1")) == str(machine.cache / "vm-6.1")
    kernel = machine.cache / "vm-6.1/boot/vmlinuz-6.1.0-56-amd64"
    assert as_user(OTHER, lambda: artifacts.ensure("6.1").kernel) == str(kernel)
    assert machine.called() == []
    theirs = as_user(OTHER, lambda: unpack(None))
    assert theirs == (refused(machine.cache) if mode == 0o755 else str(machine.cache / "sshd"))


@pytest.mark.parametrize("left", ["killed", "cut short", "private"])
def test_of_the_other_s_guest_what_is_not_whole_or_not_to_be_read_stays_as_it_is(machine: Machine, left: str) -> None:
    place = machine.cache / "vm-6.1"
    as_user(ONE, lambda: unpack("6.1", 0o077 if left == "private" else 0o022))
    if left == "killed":
        place.rename(machine.cache / "vm-6.1.abcdefgh")
    if left == "cut short":
        (place / "unpacked").write_text("")
    before = sorted(machine.cache.rglob("*"))
    assert as_user(OTHER, lambda: unpack("6.1")) == refused(place)
    assert sorted(machine.cache.rglob("*")) == before
    assert as_user(ONE, lambda: unpack("6.1")) == str(place)


def test_each_user_of_a_cache_has_a_lab_of_her_own(machine: Machine) -> None:
    own = {"daemon": os.getpid(), "started": process.started(os.getpid())}
    content = json.dumps({**own, "cluster": to_json(EXAMPLE)})
    file = machine.cache / f"lab-{ONE}.json"
    as_user(ONE, lambda: os.write(os.open(file, os.O_WRONLY | os.O_CREAT, 0o600), content.encode()))
    assert as_user(ONE, lambda: manage.status() == EXAMPLE) == "True"
    assert as_user(OTHER, manage.status) == "None"
    assert as_user(OTHER, manage.down) == "False"
    assert file.read_text() == content
