"""Kernel settings under /proc/sys: set them, and put back what was there."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from refproxy.errors import ProxierError

if TYPE_CHECKING:
    from collections.abc import Mapping

log = logging.getLogger(__name__)


class Sysctls:
    """Sets kernel settings of this network namespace and remembers what they were.

    ``root`` is where the settings lie; tests give a folder of their own.
    """

    def __init__(self, root: Path = Path("/proc/sys")) -> None:
        self._root = root
        self._before: dict[str, str] = {}

    def set(self, values: Mapping[str, int]) -> None:
        """Give each setting ("net.ipv4.ip_forward") its value; raise ProxierError naming one that cannot be set."""
        for name, value in values.items():
            path = self._path(name)
            try:
                before = path.read_text().strip()
                if before != str(value):
                    path.write_text(f"{value}\n")
            except OSError as error:
                raise ProxierError(f"sysctl {name}={value}: {error.strerror}") from error
            if before != str(value):
                self._before.setdefault(name, before)

    def restore(self) -> None:
        """Put back all values that ``set`` changed, the last first; log what would not go back."""
        for name, value in reversed(self._before.items()):
            try:
                self._path(name).write_text(f"{value}\n")
            except OSError as error:
                log.warning("sysctl %s: could not be put back to %s: %s", name, value, error.strerror)
        self._before.clear()

    def _path(self, name: str) -> Path:
        return self._root.joinpath(*name.split("."))
