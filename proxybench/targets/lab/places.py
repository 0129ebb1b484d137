"""Paths that a lab cannot use: those that its nodes do not see, and those whose names cannot be written for them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from proxybench.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

NETNS_OWN = ("/run", "/sys")
"""What a node of a ``netns`` lab has of its own in place of this machine's."""
GUEST_OWN = (*NETNS_OWN, "/dev", "/proc")
"""The same of a guest."""


def usual_places(state: Path, system: Path) -> dict[Path, str]:
    """Return the folders that nodes must see, and what to do where one of them cannot be had."""
    elsewhere = "install proxybench in another folder"
    return {
        state: "set TMPDIR to another folder",
        system: "name another folder with PROXYBENCH_CACHE",
        Path(sys.prefix): elsewhere,
        Path(sys.base_prefix): "use a Python in another folder",
        Path(__file__).parents[3]: elsewhere,
    }


def check_places(places: Mapping[Path, str], own: Collection[str], on_search_path: Collection[Path] = ()) -> None:
    """Raise LabError for the first folder that will not do, with what would.

    ``own`` are the folders that nodes have of their own, ``on_search_path`` those that stand in a list with colons.
    """
    for folder, mend in places.items():
        name = str(folder)
        tops = {f"/{path.parts[1]}" for path in (folder, folder.resolve()) if len(path.parts) > 1}
        if hidden := sorted(tops & set(own)):
            raise LabError(f"{name}: a lab's nodes have a {hidden[0]} of their own, and do not see it; {mend}")
        if name.encode(errors="replace") != name.encode(errors="surrogateescape") or "\n" in name:
            shown = name.encode(errors="backslashreplace").decode().replace("\n", "\\n")
            raise LabError(f"{shown}: its name is no line of UTF-8; {mend}")
        if folder in on_search_path and set(name) & set(":;"):
            raise LabError(f"{name}: a colon or semicolon in its name divides a list of folders; {mend}")
