"""Text is UTF-8 here whatever the locale says, as in Python 3.15: names of folders, a lab's scripts, output."""

from __future__ import annotations

import os
import sys


def ensure_utf8() -> None:
    """Begin this program again in Python's UTF-8 mode (PEP 540) where it cannot read and write every name of a file.

    Python does the same by itself in the C locale, unless PYTHONUTF8 or PYTHONCOERCECLOCALE forbids it; other locales
    with an encoding of their own are left to us.
    """
    if sys.getfilesystemencoding() != "utf-8" and sys.executable:
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])  # noqa: S606 - this very program
