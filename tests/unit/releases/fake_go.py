"""A ``go`` that is a shell script: notes how it was called, and writes a program."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.unit.releases.elf import elf

if TYPE_CHECKING:
    from pathlib import Path

UPSTREAM = {
    "Module": {"Path": "k8s.io/kubernetes"},
    "Go": "1.26.0",
    "GoDebug": [{"Key": "default", "Value": "go1.26"}],
    "Require": [{"Path": "k8s.io/api", "Version": "v0.0.0"}],
    "Replace": [{"Old": {"Path": "k8s.io/api"}, "New": {"Path": "./staging/src/k8s.io/api"}}],
}
SCRIPT = """#!/bin/sh
export PATH=/usr/bin:/bin
echo "$*" >> {home}/argv
env | grep -E '^(GO|CGO)' | sort > {home}/environ
case "$1 $2" in
"mod download") {download} ;;
"list -m") {listing} ;;
"mod edit") cat {home}/upstream ;;
"mod tidy") cp go.mod {home}/go.mod ;;
"env GOVERSION") echo go1.26.8 ;;
"build -trimpath") while [ "$1" != -o ]; do shift; done; {build} ;;
*) exit 2 ;;
esac
"""


class FakeGo:
    """Its folder is to be on PATH."""

    def __init__(self, home: Path, *, error: str = "", build: str = "", arch: str = "amd64") -> None:
        self.home = home
        self.program = elf(arch, b"built")
        (home / "program").write_bytes(self.program)
        (home / "upstream").write_text(json.dumps(UPSTREAM))
        answer = {"Path": "module", "GoMod": str(home / "module.mod")}
        download = f"cat {home}/answer"
        if error:
            answer = {"Error": error}
            download += "; exit 1"
        (home / "answer").write_text(json.dumps(answer))
        listing = f"echo 'go: {error}' >&2; exit 1" if error else "echo module"
        copy = f'cp {home}/program "$2"'
        words = {"download": download, "listing": listing, "build": build or copy}
        (home / "go").write_text(SCRIPT.format(home=home, **words))
        (home / "go").chmod(0o755)

    @property
    def argv(self) -> list[str]:
        """The calls so far."""
        return (self.home / "argv").read_text().splitlines()

    @property
    def environ(self) -> list[str]:
        """Go's variables at the last call."""
        return (self.home / "environ").read_text().splitlines()
