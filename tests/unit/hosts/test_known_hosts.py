from __future__ import annotations

import base64
import errno
import hashlib
import hmac
import os
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxybench.errors import UsageError
from proxybench.hosts.known_hosts import KnownHosts

KEY, OTHER = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA", "ssh-rsa AAAAB3NzaC1yc2E="


def find(file: Path, name: str) -> str:
    return KnownHosts().find([file.with_name("missing"), file], name)


def test_keys_by_name_port_and_hash(tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-f", tmp_path / "key", "-N", ""], check=True)
    public = " ".join((tmp_path / "key.pub").read_text().split()[:2])
    file = tmp_path / "known_hosts"
    file.write_text(f"plain,192.0.2.7 {public}\n[plain]:2222 {public}\n# nothing\nhashed {public}\n")
    names = ("plain", "192.0.2.7", "[plain]:2222", "hashed")
    assert [find(file, name) for name in names] == [public] * 4
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(file)], check=True, capture_output=True)
    assert "plain" not in file.read_text()
    assert [find(file, name) for name in names] == [public] * 4
    assert find(file, "other") == ""


def test_all_keys_of_a_host_from_all_files_once(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text(f"\ta,b\t{KEY}  a comment\nbad line\nb {OTHER}\n@cert-authority b {KEY}more\nb ssh-dss\n*.x {KEY}\n")
    two.write_text(f"b {KEY}\n|1|no|base64 {KEY}\n|1|short {KEY}\n")
    assert KnownHosts().find([one, two], "b") == f"{KEY}\n{OTHER}"
    assert KnownHosts().find([two], "a.x") == ""


def test_a_revoked_key_is_nobody_s(tmp_path: Path) -> None:
    file = tmp_path / "known_hosts"
    file.write_text(f"a {KEY}\na {OTHER}\n@revoked * {KEY}\n")
    assert find(file, "a") == OTHER
    more = tmp_path / "more"
    more.write_text(f"a {KEY}\n @revoked\t* {OTHER}\nb {KEY}\n")
    for files in ([file, more], [more, file]):
        assert KnownHosts().find(files, "a") == KnownHosts().find(files, "b") == ""


def test_names_count_in_lower_case(tmp_path: Path) -> None:
    file = tmp_path / "known_hosts"
    file.write_text(f"Host.Example,[OTHER]:24 {KEY}\n")
    assert find(file, "HOST.example") == find(file, "[other]:24") == KEY


def test_a_file_is_read_once_and_one_that_is_no_text_is_passed_over(tmp_path: Path) -> None:
    known, file = KnownHosts(), tmp_path / "known_hosts"
    file.write_bytes(b"\xff\xfe \x00\n" + f"a {KEY}\n".encode())
    assert known.find([file], "a") == KEY
    file.unlink()
    assert known.find([file], "a") == KEY


def test_a_file_that_cannot_be_read_is_named() -> None:
    for path, why in ((Path("/proc/self/mem"), errno.EIO), (Path("x" * 300), errno.ENAMETOOLONG)):
        with pytest.raises(UsageError) as raised:
            KnownHosts().find([path], "a")
        assert str(raised.value) == f"{path}: cannot be read: {os.strerror(why)}"
    assert KnownHosts().find([Path("/proc/none"), Path("/dev/null/none"), Path("/dev/null"), Path("/proc")], "a") == ""


def test_five_hundred_hosts_of_three_hashed_keys_each_take_seconds_not_minutes(tmp_path: Path) -> None:
    """1,500 lines, each asked for each host: 750,000 hashes. Read anew for each host that took a quarter of an hour."""

    def hashed(name: str, salt: bytes) -> str:
        parts = (salt, hmac.digest(salt, name.encode(), hashlib.sha1))
        return "|1|" + "|".join(base64.b64encode(part).decode() for part in parts)

    file, names = tmp_path / "known_hosts", [f"192.0.2.{number}" for number in range(500)]
    file.write_text("".join(f"{hashed(name, bytes([n]) * 20)} {KEY}{n}\n" for name in names for n in range(3)))
    known, began = KnownHosts(), time.process_time()
    assert known.find([file], names[0]).splitlines() == [f"{KEY}{n}" for n in range(3)]
    assert all(known.find([file], name).count("\n") == 2 for name in names)
    assert time.process_time() - began < 20


@given(st.text())
def test_any_text_is_a_file_of_known_hosts(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    file = tmp_path_factory.getbasetemp() / "any"
    file.write_text(text, encoding="utf-8")
    assert find(file, "never there") == ""
