"""Lets a kube-proxy in userspace mode start where nobody may have as many open files as it asks for.

It sets its limit to 64,000 and ends where it may not (docs/kube-proxy-binaries.md): in a container, say, whose own
limit is lower. Simulated there: a filter of system calls (seccomp) has setting a limit succeed, and do nothing.
"""

from __future__ import annotations

import platform
import resource
import sys
from typing import TYPE_CHECKING

from proxybench.model import Mode

if TYPE_CHECKING:
    from pathlib import Path

_WANTED = 64_000
_SETRLIMIT = {"x86_64": 160}  # what the libraries of kube-proxy 1.25 call on other processors is another call
# The filter, in classic BPF: setrlimit succeeds and does nothing, and all other calls are allowed.
_WRAPPER = """\
#!{python}
import ctypes, os, struct, sys
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, NOTHING = 0x7fff0000, 0x00050000
steps = [(LOAD, 0, 0, 0), (EQUAL, 0, 1, {number}), (RETURN, 0, 0, NOTHING), (RETURN, 0, 0, ALLOW)]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
program = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(steps), ctypes.addressof(code)))
libc = ctypes.CDLL(None, use_errno=True)
if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, program):
    sys.exit(os.strerror(ctypes.get_errno()))
os.execv("{binary}", sys.argv)
"""


def startable(binary: Path, mode: Mode, folder: Path) -> Path:
    """Return a program that becomes a kube-proxy which starts here in a mode: the binary, or a script in a folder."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    number = _SETRLIMIT.get(platform.machine())
    if mode is not Mode.USERSPACE or number is None or hard == resource.RLIM_INFINITY or hard >= _WANTED:
        return binary
    wrapper = folder / "kube-proxy"
    words = {"python": sys.executable, "number": number, "binary": binary}
    wrapper.write_text(_WRAPPER.format(**words))
    wrapper.chmod(0o755)
    return wrapper
