from __future__ import annotations

import os
import subprocess
import sys

import pytest

PROGRAM = """
import os, sys
from proxybench.cli.utf8 import ensure_utf8
ensure_utf8()
print(sys.flags.utf8_mode, sys.flags.dont_write_bytecode, sys.getfilesystemencoding(), os.fsencode(sys.argv[1]).hex())
"""


@pytest.mark.parametrize(
    ("environment", "mode"),
    [
        ({"LC_ALL": "C.UTF-8"}, 0),
        ({"LC_ALL": "C"}, 1),  # Python's own doing
        ({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, 1),
        ({"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, 1),
    ],
)
@pytest.mark.parametrize("name", ["\u00fcml\u00e4ut".encode(), b"\xfcml"])
def test_names_are_utf8_in_every_locale(environment: dict[str, str], mode: int, name: bytes) -> None:
    done = subprocess.run(
        [sys.executable.encode(), b"-B", b"-c", PROGRAM.encode(), name],
        capture_output=True,
        timeout=60,
        check=True,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path), **environment},
    )
    assert (done.stdout.decode(), done.stderr) == (f"{mode} 1 utf-8 {name.hex()}\n", b"")
