"""Public keys of hosts from known_hosts files; each is read once, however many hosts are asked for."""

from __future__ import annotations

import base64
import binascii
import hmac
import stat
from itertools import chain
from typing import TYPE_CHECKING, Final

from proxybench.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_HASHED: Final = "|1|"
_FIELDS: Final = 3


class KnownHosts:
    """Answers which keys a host may show. Names may be hashed; patterns and certificate authorities are passed over."""

    def __init__(self) -> None:
        self._read: dict[Path, _File] = {}

    def find(self, files: Iterable[Path], name: str) -> str:
        """Return the public keys that files have for a name, one a line; "" for none. A missing file holds none.

        What one of them revokes is no key in any. Raises UsageError for a file that cannot be read.
        """
        read = [self._file(file) for file in files]
        revoked = frozenset[str]().union(*(file.revoked for file in read))
        keys = dict.fromkeys(key for file in read for key in file.keys_of(name.lower()))
        return "\n".join(key for key in keys if key not in revoked)

    def _file(self, path: Path) -> _File:
        if path not in self._read:
            try:
                # Not is_file(), to which from Python 3.14 on what cannot be looked for is no file.
                text = path.read_text("utf-8", "replace") if stat.S_ISREG(path.stat().st_mode) else ""
            except (FileNotFoundError, NotADirectoryError):
                text = ""
            except OSError as error:
                raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
            self._read[path] = _File(text)
        return self._read[path]


class _File:
    """The lines of one file, by plain name in lower case; those with hashed names by turns, to be found by guesses."""

    def __init__(self, text: str) -> None:
        self._plain: dict[str, list[str]] = {}
        self._hashed: list[tuple[bytes, bytes, str]] = []
        self.revoked: set[str] = set()
        for line in text.splitlines():
            fields = line.split()
            marker = fields.pop(0) if line.lstrip().startswith("@") else ""
            if marker == "@revoked" and len(fields) >= _FIELDS:
                self.revoked.add(" ".join(fields[1:3]))
            elif not marker and len(fields) >= _FIELDS and not fields[0].startswith("#"):
                self._add(fields[0], " ".join(fields[1:3]))

    def _add(self, names: str, key: str) -> None:
        for name in names.split(","):
            if not name.startswith(_HASHED):
                self._plain.setdefault(name.lower(), []).append(key)
                continue
            try:
                salt, digest = (base64.b64decode(part, validate=True) for part in name[len(_HASHED) :].split("|"))
            except (binascii.Error, ValueError):
                continue
            self._hashed.append((salt, digest, key))

    def keys_of(self, name: str) -> Iterator[str]:
        """Yield the keys of a host, those last that have hashed names."""
        word = name.encode()
        hashed = (key for salt, digest, key in self._hashed if hmac.digest(salt, word, "sha1") == digest)
        return chain(self._plain.get(name, ()), hashed)
