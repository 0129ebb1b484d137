"""Downloads from a server on loopback that cuts, stalls, lies and refuses."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from proxybench.errors import TransferError, UnavailableError
from proxybench.releases.download import MB, Limits, download, published_sum
from tests.unit.releases.mirror import Mirror, mirror

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CONTENT = bytes(range(256)) * 4096  # 1 MiB
SUM = hashlib.sha512(CONTENT).hexdigest()
PATH = "/kube-proxy"
QUICK = Limits(silence_s=10, attempts=2, pause_s=0.0, every_s=60.0, free=lambda _: 10**12)


class Case:
    def __init__(self, served: Mirror, folder: Path) -> None:
        self.served = served
        served.files[PATH] = CONTENT
        self.url = served.url + PATH
        self.partial = folder / "kube-proxy.partial"
        self.lines: list[str] = []

    def get(self, limits: Limits = QUICK, expected: str = SUM) -> bytes:
        download(self.url, self.partial, expected, self.lines.append, limits)
        return self.partial.read_bytes()

    def fail(self, limits: Limits = QUICK, expected: str = SUM) -> str:
        with pytest.raises(TransferError) as error:
            self.get(limits, expected)
        return str(error.value).replace(self.url, "URL")

    @property
    def ranges(self) -> list[str]:
        return [wanted for _, wanted in self.served.asked]


@pytest.fixture
def case(tmp_path: Path) -> Iterator[Case]:
    with mirror() as served:
        yield Case(served, tmp_path)


def test_a_whole_file(case: Case) -> None:
    assert case.get() == CONTENT
    assert (case.ranges, case.lines) == ([""], [])


def test_a_cut_is_gone_on_from(case: Case) -> None:
    case.served.cuts = [1000, 500]
    assert case.get() == CONTENT
    assert case.ranges == ["", "bytes=1000-", "bytes=1500-"]
    assert [line.replace(case.url, "URL") for line in case.lines] == [
        "URL: broke off (the connection ended after 1000 of 1048576 bytes); trying again",
        "URL: broke off (the connection ended after 1500 of 1048576 bytes); trying again",
    ]


def test_a_later_call_goes_on_from_what_an_earlier_one_left(case: Case) -> None:
    case.served.cuts = [1000, 0]
    assert case.fail() == (
        "URL: the download broke off (the connection ended after 1000 of 1048576 bytes); 0.0 MB have come and are "
        "kept: the same command goes on from there"
    )
    assert case.partial.read_bytes() == CONTENT[:1000]
    case.served.asked.clear()
    assert case.get() == CONTENT
    assert case.ranges == ["bytes=1000-"]


def test_a_server_that_knows_no_ranges_starts_anew(case: Case) -> None:
    case.served.ranges = False
    case.partial.write_bytes(CONTENT[:1000])
    assert case.get() == CONTENT
    assert case.ranges == ["bytes=1000-"]


def test_what_had_come_whole_is_not_fetched_again(case: Case) -> None:
    case.partial.write_bytes(CONTENT)
    assert case.get() == CONTENT
    assert case.lines == []


def test_a_part_of_another_file_is_fetched_anew(case: Case) -> None:
    case.partial.write_bytes(b"another file")
    assert case.get() == CONTENT
    assert case.ranges == ["bytes=12-", ""]
    assert case.lines == [f"{case.url}: what an earlier call had left is of another file: fetching it anew"]


def test_a_part_that_is_longer_than_the_file_is_fetched_anew(case: Case) -> None:
    case.partial.write_bytes(CONTENT + b"more")
    assert case.get() == CONTENT
    assert case.ranges == [f"bytes={len(CONTENT) + 4}-", ""]


def test_a_wrong_sum_keeps_nothing(case: Case) -> None:
    wrong = "f" * 128
    assert case.fail(expected=wrong) == (
        f"URL: the file's SHA-512 {SUM[:12]}… is not the published ffffffffffff…; it was deleted: try again, or "
        "another mirror"
    )
    assert not case.partial.exists()
    assert case.ranges == [""]


def test_a_server_that_stalls_is_left(case: Case) -> None:
    case.served.stall = threading.Event()
    assert case.fail(replace(QUICK, silence_s=0.2, attempts=1)) == (
        "URL: the download broke off (no answer in time); 0.5 MB have come and are kept: the same command goes on "
        "from there"
    )
    assert case.partial.read_bytes() == CONTENT[: len(CONTENT) // 2]


def test_an_error_of_the_server_is_tried_again(case: Case) -> None:
    case.served.codes[PATH] = 503
    assert "broke off (the server answered HTTP 503)" in case.fail()
    assert case.ranges == ["", ""]


def test_a_program_that_is_not_there_though_its_sum_is(case: Case) -> None:
    case.served.codes[PATH] = 404
    assert case.fail() == "URL answers HTTP 404, though its .sha512 is there"


def test_a_disk_without_room_is_seen_before(case: Case) -> None:
    limits = replace(QUICK, spare=50 * MB, free=lambda _: 51 * MB)
    assert case.fail(limits) == (
        f"{case.partial.parent}: no room left on the disk (it needs 1.0 MB): free some, or name another folder with "
        "PROXYBENCH_CACHE"
    )
    assert case.get(replace(limits, free=lambda _: 52 * MB)) == CONTENT


def test_a_disk_that_fills_up_on_the_way(case: Case) -> None:
    case.partial.symlink_to("/dev/full")  # each write to it fails as on a full disk
    assert case.fail() == (
        f"{case.partial.parent}: no room left on the disk (0.0 MB have come and are kept): free some, or name another "
        "folder with PROXYBENCH_CACHE"
    )


def test_a_file_that_is_too_large_is_not_begun(case: Case) -> None:
    case.served.length = 2000 * MB
    assert case.fail() == "URL: 2000 MB is too large for the program that was asked for"
    assert not case.partial.exists()


def test_progress_is_told_from_time_to_time(case: Case) -> None:
    case.get(replace(QUICK, every_s=0.0))
    assert case.lines[-1].startswith("kube-proxy: 1.0 of 1.0 MB (")
    assert case.lines[-1].endswith(" MB/s)")


def test_a_published_sum(case: Case) -> None:
    case.served.files["/a"] = f"{SUM.upper()}  kube-proxy\n".encode()
    assert published_sum(f"{case.served.url}/a", QUICK) == SUM


def test_no_published_sum(case: Case) -> None:
    case.served.files |= {"/page": b"<html>sign in</html>", "/empty": b" ", "/refused": b"x"}
    case.served.codes["/refused"] = 403
    found = {}
    for path in ("/page", "/empty", "/none", "/refused"):
        with pytest.raises(UnavailableError) as error:
            published_sum(f"{case.served.url}{path}", QUICK)
        found[path] = (str(error.value).replace(case.served.url, ""), error.value.missing)
    assert found == {
        "/page": ("/page answers with something that is no SHA-512", False),
        "/empty": ("/empty answers with something that is no SHA-512", False),
        "/none": ("/none answers HTTP 404", True),
        "/refused": ("/refused answers HTTP 403", False),
    }


def test_a_server_that_is_not_there() -> None:
    with pytest.raises(UnavailableError) as error:
        published_sum("http://127.0.0.1:1/a", QUICK)
    assert str(error.value) == "http://127.0.0.1:1/a cannot be reached (Connection refused)"
    with pytest.raises(UnavailableError, match=r"^http://nowhere\.invalid/a cannot be reached \(.+\)$"):
        published_sum("http://nowhere.invalid/a", QUICK)
