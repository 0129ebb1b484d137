from __future__ import annotations

import gzip
import io
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from proxybench.targets.lab.initramfs import BOOT_MODULES, Entry, cpio, initramfs

MODULES = {name: f"code of {name}".encode() for name in BOOT_MODULES}


@dataclass(frozen=True)
class Member:
    """One member as a reader of the format sees it, by the kernel's description of it."""

    inode: int
    mode: int
    links: int
    device: tuple[int, int]
    check: int
    data: bytes


def read(archive: bytes) -> dict[str, Member]:
    """Read a "newc" archive up to its trailer, and insist on every rule of the format."""
    stream = io.BytesIO(archive)
    found: dict[str, Member] = {}
    while True:
        assert stream.tell() % 4 == 0
        assert stream.read(6) == b"070701"
        fields = [int(stream.read(8), 16) for _ in range(13)]
        inode, mode, _uid, _gid, links, _mtime, size, _major, _minor, device_major, device_minor, length, check = fields
        raw = stream.read(length)
        assert raw.endswith(b"\0")
        stream.read(-stream.tell() % 4)
        data = stream.read(size)
        assert len(data) == size
        padding = stream.read(-stream.tell() % 4)
        assert not padding.strip(b"\0")
        name = raw[:-1].decode()
        if name == "TRAILER!!!":
            assert not stream.read()
            return found
        assert name not in found
        found[name] = Member(inode, mode, links, (device_major, device_minor), check, data)


names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1).filter(lambda n: n != "TRAILER!!!")
entries = st.builds(
    Entry,
    name=names,
    mode=st.integers(0, 0o177777),
    data=st.binary(max_size=40),
    device=st.tuples(st.integers(0, 0xFFFFFFFF), st.integers(0, 0xFFFFFFFF)),
)


@given(st.lists(entries, unique_by=lambda entry: entry.name, max_size=6))
def test_what_is_written_is_read_back(members: list[Entry]) -> None:
    expected = {
        entry.name: Member(number, entry.mode, 1, entry.device, 0, entry.data)
        for number, entry in enumerate(members, start=1)
    }
    found = read(cpio(members))
    assert found == expected
    assert list(found) == [entry.name for entry in members]


def test_an_empty_archive_is_its_trailer() -> None:
    head = b"070701" + b"00000000" * 4 + b"00000001" + b"00000000" * 6 + b"0000000B" + b"00000000"
    assert cpio([]) == head + b"TRAILER!!!\0" + b"\0\0\0"


def test_the_first_root_holds_what_the_guest_boots_with() -> None:
    found = read(gzip.decompress(initramfs(b"the busybox", MODULES, "/state/guest.sh")))
    folders = {name for name, member in found.items() if member.mode == 0o040755}
    assert folders == {"bin", "dev", "proc", "modules", "lower", "upper", "new"}
    assert found["bin/busybox"].data == b"the busybox"
    assert found["bin/busybox"].mode == found["init"].mode == 0o100755
    assert (found["dev/console"].mode, found["dev/console"].device) == (0o020600, (5, 1))
    files = {name.removeprefix("modules/"): member for name, member in found.items() if name.startswith("modules/")}
    assert {name: member.data for name, member in files.items()} == {f"{n}.ko": d for n, d in MODULES.items()}
    assert {member.mode for member in files.values()} == {0o100644}


def test_every_folder_comes_before_what_lies_in_it() -> None:
    order = list(read(gzip.decompress(initramfs(b"", MODULES, "/x"))))
    for name in order:
        if "/" in name:
            assert order.index(name.split("/")[0]) < order.index(name)


def test_init_inserts_the_modules_in_order_mounts_the_tree_read_only_and_hands_over() -> None:
    lines = read(gzip.decompress(initramfs(b"", MODULES, "/state/guest.sh")))["init"].data.decode().splitlines()
    assert lines[0] == "#!/bin/busybox sh"
    assert lines[3].startswith(f"for module in {' '.join(BOOT_MODULES)}; do ")
    mount = next(line for line in lines if line.endswith("/lower"))
    assert "-t 9p" in mount
    assert mount.split()[5].split(",")[-1] == "ro"
    assert "/bin/busybox mount -t tmpfs -o size=75% tmpfs /upper" in lines
    overlay = next(line for line in lines if "-t overlay" in line)
    assert "lowerdir=/lower,upperdir=/upper/data,workdir=/upper/work overlay /new" in overlay
    assert lines[-1] == "exec /bin/busybox switch_root /new /bin/sh /state/guest.sh"


def test_the_same_parts_make_the_same_bytes() -> None:
    assert initramfs(b"b", MODULES, "/s") == initramfs(b"b", dict(reversed(MODULES.items())), "/s")


def test_a_script_with_a_blank_in_its_path_stays_one_word() -> None:
    lines = read(gzip.decompress(initramfs(b"", MODULES, "/my tmp/guest.sh")))["init"].data.decode().splitlines()
    assert lines[-1] == "exec /bin/busybox switch_root /new /bin/sh '/my tmp/guest.sh'"
