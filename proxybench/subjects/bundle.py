"""Putting a folder of small files on a node in one exec: under emulation each exec costs a good part of a second."""

from __future__ import annotations

import io
import tarfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxybench.hosts.base import Executor

# $1: the folder. It is made anew, so that no file keeps an old content or mode. What is in the files comes by standard
# input, since arguments of programs are there for all to see.
_UNPACK: Final = 'umask 077; rm -rf -- "$1" && mkdir -p -- "$1" && exec tar -xf - --no-same-owner -C "$1"'


@dataclass(frozen=True)
class Bundle:
    """A folder as it is to be on the node: texts by name, which only their owner may read, and links by name."""

    files: Mapping[str, str]
    links: Mapping[str, str] = field(default_factory=dict)

    def tar(self) -> bytes:
        """Return it as a tar archive, the same bytes for the same content."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for name, text in self.files.items():
                entry = tarfile.TarInfo(name)
                data = text.encode()
                entry.size, entry.mode = len(data), 0o600
                archive.addfile(entry, io.BytesIO(data))
            for name, target in self.links.items():
                entry = tarfile.TarInfo(name)
                entry.type, entry.linkname, entry.mode = tarfile.SYMTYPE, target, 0o777
                archive.addfile(entry)
        return buffer.getvalue()


def put_folder(executor: Executor, folder: str, bundle: Bundle) -> None:
    """Replace a folder of the node by the bundle's content. Raises HostError."""
    executor.run(unpack_argv(folder), stdin=bundle.tar().decode())


def unpack_argv(folder: str) -> list[str]:
    """Return the command that makes the folder from an archive on its standard input."""
    return ["sh", "-c", _UNPACK, "unpack", folder]
