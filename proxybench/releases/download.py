"""Fetches one file by HTTP: resumed where it broke off, bounded in time and size, verified before it counts.

What has come is kept in ``FILE.partial``. The system's proxy settings hold, as everywhere in Python's urllib.
"""

from __future__ import annotations

import errno
import http.client
import re
import shutil
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

from proxybench import __version__
from proxybench.errors import TransferError, UnavailableError
from proxybench.releases.store import sha512

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MB = 1_000_000
_CHUNK = 256 * 1024
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_SHA512 = re.compile(r"[0-9a-f]{128}")
_SUM_FILE = 1024


@dataclass(frozen=True)
class Limits:
    """Times in seconds, sizes in bytes.

    ``silence_s`` bounds making a connection and each wait for more; ``attempts`` those in a row that bring nothing
    new, with ``pause_s`` before the second and twice as long before each next; ``spare`` stays free on the disk.
    """

    silence_s: float = 15.0
    attempts: int = 5
    pause_s: float = 1.0
    every_s: float = 5.0
    largest: int = 1000 * MB
    spare: int = 50 * MB
    free: Callable[[Path], int] = lambda folder: shutil.disk_usage(folder).free


def published_sum(url: str, limits: Limits) -> str:
    """Return the SHA-512 that is published at a URL, in hex.

    Raises UnavailableError when the server cannot be reached or has none (``missing``: it says 404), or answers with
    what is no sum.
    """
    try:
        with _open(url, 0, limits) as answer:
            text = answer.read(_SUM_FILE).decode(errors="replace")
    except urllib.error.HTTPError as error:
        with error:
            missing = error.code == HTTPStatus.NOT_FOUND
            raise UnavailableError(f"{url} answers HTTP {error.code}", missing=missing) from None
    except (OSError, http.client.HTTPException) as error:
        raise UnavailableError(f"{url} cannot be reached ({_reason(error)})") from None
    found = (text.split() or [""])[0].lower()
    if not _SHA512.fullmatch(found):
        raise UnavailableError(f"{url} answers with something that is no SHA-512")
    return found


def download(url: str, partial: Path, expected: str, report: Callable[[str], None], limits: Limits) -> None:
    """Fetch a file to ``partial``, going on where an earlier call broke off, and compare its SHA-512 with ``expected``.

    Raises TransferError when it broke off too often (what has come is kept), when the disk is full, or when the sum is
    wrong (nothing is kept). A wrong sum of a file that was begun by an earlier call is fetched once more as a whole.
    """
    resumed = partial.exists()
    _fetch(url, partial, report, limits)
    if resumed and sha512(partial) != expected:
        report(f"{url}: what an earlier call had left is of another file: fetching it anew")
        partial.unlink()
        _fetch(url, partial, report, limits)
    found = sha512(partial)
    if found != expected:
        partial.unlink()
        raise TransferError(
            f"{url}: the file's SHA-512 {found[:12]}… is not the published {expected[:12]}…; it was deleted: "
            "try again, or another mirror"
        )


def _fetch(url: str, partial: Path, report: Callable[[str], None], limits: Limits) -> None:
    failed = 0
    while True:
        before = _size(partial)
        try:
            _Transfer(url, partial, report, limits).go_on()
        except (OSError, http.client.HTTPException) as error:
            failed = 1 if _size(partial) > before else failed + 1
            if isinstance(error, OSError) and error.errno in _FULL:
                raise TransferError(_no_room(partial)) from None
            if failed >= limits.attempts:
                raise TransferError(
                    f"{url}: the download broke off ({_reason(error)}); {_mb(_size(partial))} MB have come and are "
                    "kept: the same command goes on from there"
                ) from None
            report(f"{url}: broke off ({_reason(error)}); trying again")
            time.sleep(limits.pause_s * 2 ** (failed - 1))
        else:
            return


class _Transfer:
    """One request for what is not there yet of a file."""

    def __init__(self, url: str, partial: Path, report: Callable[[str], None], limits: Limits) -> None:
        self._url = url
        self._partial = partial
        self._report = report
        self._limits = limits
        self._have = _size(partial)
        self._total = 0

    def go_on(self) -> None:
        try:
            answer = _open(self._url, self._have, self._limits)
        except urllib.error.HTTPError as error:
            with error:
                self._refused(error)
            return
        with answer:
            whole = answer.status != HTTPStatus.PARTIAL_CONTENT
            if whole:  # asked for the rest or not: the server sends everything
                self._have = 0
            elif not (answer.headers["Content-Range"] or "").startswith(f"bytes {self._have}-"):
                self._partial.unlink()
                raise ConnectionError("the server sent another part than it was asked for")
            self._total = self._have + int(answer.headers["Content-Length"] or 0)
            self._check_room()
            with self._partial.open("wb" if whole else "ab", buffering=0) as file:
                self._copy(answer, file.write)

    def _refused(self, error: urllib.error.HTTPError) -> None:
        if error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and self._have:
            if (error.headers["Content-Range"] or "") == f"bytes */{self._have}":
                return  # all of it had come
            self._partial.unlink()  # longer than the file: of another one
        if error.code == HTTPStatus.NOT_FOUND:
            raise TransferError(f"{self._url} answers HTTP 404, though its .sha512 is there") from None
        raise ConnectionError(f"the server answered HTTP {error.code}")

    def _check_room(self) -> None:
        if self._total > self._limits.largest:
            raise TransferError(f"{self._url}: {_mb(self._total)} MB is too large for the program that was asked for")
        if self._total - self._have + self._limits.spare > self._limits.free(self._partial.parent):
            raise TransferError(_no_room(self._partial, self._total - self._have))

    def _copy(self, answer: http.client.HTTPResponse, write: Callable[[bytes], int | None]) -> None:
        start = last = time.monotonic()
        begun = self._have
        while data := answer.read1(_CHUNK):
            view = memoryview(data)
            while view:
                view = view[write(bytes(view)) or 0 :]
            self._have += len(data)
            if self._have > self._limits.largest:
                raise TransferError(f"{self._url}: goes on beyond {_mb(self._limits.largest)} MB")
            now = time.monotonic()
            if now - last >= self._limits.every_s:
                last = now
                self._report(self._progress((self._have - begun) / (now - start)))
        if self._have < self._total:
            raise ConnectionError(f"the connection ended after {self._have} of {self._total} bytes")

    def _progress(self, rate: float) -> str:
        of = f" of {_mb(self._total)}" if self._total else ""
        return f"{self._partial.stem}: {_mb(self._have)}{of} MB ({rate / MB:.1f} MB/s)"


def _open(url: str, begin: int, limits: Limits) -> http.client.HTTPResponse:
    headers = {"User-Agent": f"proxybench/{__version__}", "Accept-Encoding": "identity"}
    if begin:
        headers["Range"] = f"bytes={begin}-"
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - base addresses are checked to be http(s)
    answer: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=limits.silence_s)  # noqa: S310 - as above
    return answer


def _reason(error: Exception) -> str:
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, TimeoutError):
        return "no answer in time"
    return (getattr(cause, "strerror", None) or str(cause) or type(cause).__name__).strip()


def _no_room(partial: Path, needed: int = 0) -> str:
    what = f"it needs {_mb(needed)} MB" if needed else f"{_mb(_size(partial))} MB have come and are kept"
    return (
        f"{partial.parent}: no room left on the disk ({what}): free some, or name another folder with PROXYBENCH_CACHE"
    )


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _mb(size: int) -> str:
    return f"{size / MB:.0f}" if size >= 10 * MB else f"{size / MB:.1f}"
