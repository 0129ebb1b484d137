"""What the readings' shell scripts have in common."""

from __future__ import annotations

import re

MISSING = 127  # a shell's exit code for a program that is not there
PATH = "PATH=$PATH:/usr/sbin:/sbin; "
_NO_KERNEL_SUPPORT = ("Protocol not supported", "Cannot open session to kernel")


def failure(stdout: str) -> tuple[int, str]:
    """Return the exit code of a line "failed CODE" and all other words; (0, "") where there is no such line."""
    found = re.search(r"^failed (\d+)$", stdout, re.MULTILINE)
    if found is None:
        return 0, ""
    return int(found[1]), " ".join((stdout[: found.start()] + stdout[found.end() :]).split())


def unsupported(words: str) -> bool:
    """Tell whether a tool's error says that the kernel has no such thing."""
    return any(known in words for known in _NO_KERNEL_SUPPORT)
