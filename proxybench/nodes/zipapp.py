"""Building the zipapp that is copied to nodes: the same sources give the same bytes, everywhere."""

from __future__ import annotations

import hashlib
import io
import zipfile
from functools import cache
from importlib.resources import files

MODULES = (
    "__init__",
    "backend",
    "canary",
    "exchange",
    "fields",
    "fill",
    "http",
    "usage",
    "node",
    "ping",
    "probe",
    "schedule",
    "serve",
    "spawn",
    "state",
    "tls",
    "watch",
    "watchers",
)
LAUNCHER = "import sys\nfrom proxybench.agent.__main__ import main\nmain(sys.argv[1:])\n"
EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip file can hold


@cache
def build_zipapp() -> bytes:
    """Return the agent as a zip file that Python runs: ``python -I -S FILE serve``.

    Nothing is compressed: deflated bytes differ between versions of zlib, and unpacking would cost start-up time.
    Built once, for hundreds of nodes.
    """
    package = files("proxybench.agent")
    entries = {"__main__.py": LAUNCHER, "proxybench/__init__.py": ""}
    for module in ("__main__", *MODULES):
        entries[f"proxybench/agent/{module}.py"] = package.joinpath(f"{module}.py").read_text("utf-8")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(entries):
            info = zipfile.ZipInfo(name, EPOCH)
            info.create_system = 3  # Unix, wherever it is built
            info.external_attr = 0o644 << 16
            archive.writestr(info, entries[name].encode())
    return buffer.getvalue()


def zipapp_name(data: bytes) -> str:
    """Return the file name for a zipapp: it changes with the contents."""
    return f"proxybench-agent-{hashlib.sha256(data).hexdigest()[:16]}.pyz"
