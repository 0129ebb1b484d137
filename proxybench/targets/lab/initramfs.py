"""The guest's first root: a cpio archive with busybox, a few kernel modules and one script.

The archive is made here, in the "newc" format that the kernel documents in
Documentation/driver-api/early-userspace/buffer-format.rst, so that no root rights and no cpio program are needed.
"""

from __future__ import annotations

import gzip
import shlex
from dataclasses import dataclass

# In the order in which they are inserted: each needs only those before it.
BOOT_MODULES = (
    "virtio_ring",
    "virtio",
    "virtio_pci_modern_dev",
    "virtio_pci_legacy_dev",
    "virtio_pci",
    "netfs",
    "fscache",
    "9pnet",
    "9p",
    "9pnet_virtio",
    "overlay",
)

# The host's tree is the lower layer, a tmpfs the upper: the guest cannot write the host's files. switch_root, not
# chroot: with chroot the kernel would look for /sbin/modprobe in this archive and load no netfilter match.
_INIT = """#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t devtmpfs dev /dev
for module in {modules}; do /bin/busybox insmod /modules/$module.ko || echo "proxybench: no module $module"; done
/bin/busybox mount -t 9p -o trans=virtio,version=9p2000.L,msize=1048576,cache=loose,ro root /lower
/bin/busybox mount -t tmpfs -o size=75% tmpfs /upper
/bin/busybox mkdir /upper/data /upper/work
/bin/busybox mount -t overlay -o lowerdir=/lower,upperdir=/upper/data,workdir=/upper/work overlay /new
/bin/busybox umount /proc
/bin/busybox umount /dev
exec /bin/busybox switch_root /new /bin/sh {script}
"""

_FILE = 0o100000
_FOLDER = 0o040000
_DEVICE = 0o020000
_ALIGN = 4


@dataclass(frozen=True)
class Entry:
    """One member of the archive; ``mode`` holds the type bits, ``device`` the major and minor of a node."""

    name: str
    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)


def cpio(entries: list[Entry]) -> bytes:
    """Return the archive (newc, uncompressed) of the entries, in order, with its trailer."""
    parts = [_member(number, entry) for number, entry in enumerate(entries, start=1)]
    return b"".join([*parts, _member(0, Entry("TRAILER!!!", 0))])


def initramfs(busybox: bytes, modules: dict[str, bytes], script: str) -> bytes:
    """Return the compressed first root.

    ``modules`` maps names of BOOT_MODULES to their .ko files, without those that the kernel has built in; ``script`` is
    the path, in the host's tree, of what becomes the guest's process 1.
    """
    names = [name for name in BOOT_MODULES if name in modules]
    init = _INIT.format(modules=" ".join(names), script=shlex.quote(script))
    folders = ("bin", "dev", "proc", "modules", "lower", "upper", "new")
    entries = [Entry(name, _FOLDER | 0o755) for name in folders]
    entries += [
        Entry("dev/console", _DEVICE | 0o600, device=(5, 1)),
        Entry("bin/busybox", _FILE | 0o755, busybox),
        Entry("init", _FILE | 0o755, init.encode()),
    ]
    entries += [Entry(f"modules/{name}.ko", _FILE | 0o644, modules[name]) for name in names]
    return gzip.compress(cpio(entries), compresslevel=1, mtime=0)


def _member(number: int, entry: Entry) -> bytes:
    name = entry.name.encode() + b"\0"
    links = 1
    fields = (number, entry.mode, 0, 0, links, 0, len(entry.data), 0, 0, *entry.device, len(name), 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + name
    return _padded(head) + _padded(entry.data)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % _ALIGN)
