from __future__ import annotations

import os
from pathlib import Path

import pytest

from proxybench.errors import LabError
from proxybench.targets.lab.places import GUEST_OWN, NETNS_OWN, check_places, usual_places


def refusal(folder: Path, own: tuple[str, ...] = NETNS_OWN, search: tuple[Path, ...] = ()) -> str:
    with pytest.raises(LabError) as raised:
        check_places({Path("/usr"): "never", folder: "set TMPDIR to another folder"}, own, search)
    return str(raised.value)


@pytest.mark.parametrize(
    "name", ["a blank", "100%s", 'it\'s "quoted" \\', "\u00fcml\u00e4ut", "x" * 200, "[1]", "$HOME", "a:b;c"]
)
def test_names_that_will_do(tmp_path: Path, name: str) -> None:
    check_places({tmp_path / name: "never"}, GUEST_OWN)


def test_a_folder_that_nodes_do_not_see(tmp_path: Path) -> None:
    seen = "of their own, and do not see it; set TMPDIR to another folder"
    assert refusal(Path("/run/user/0/lab")) == f"/run/user/0/lab: a lab's nodes have a /run {seen}"
    assert refusal(Path("/dev/shm/lab"), GUEST_OWN) == f"/dev/shm/lab: a lab's nodes have a /dev {seen}"  # noqa: S108 - a name
    check_places({Path("/dev/shm/lab"): "never"}, NETNS_OWN)  # noqa: S108 - a name
    (tmp_path / "link").symlink_to("/run")
    assert refusal(tmp_path / "link/lab") == f"{tmp_path}/link/lab: a lab's nodes have a /run {seen}"


def test_a_name_that_is_no_line_of_utf8() -> None:
    end = "its name is no line of UTF-8; set TMPDIR to another folder"
    assert refusal(Path(os.fsdecode(b"/tmp/\xfcml"))) == f"/tmp/\\udcfcml: {end}"  # noqa: S108 - a name
    assert refusal(Path("/tmp/a\nb")) == f"/tmp/a\\nb: {end}"  # noqa: S108 - a name


def test_a_colon_where_it_divides() -> None:
    folder = Path("/cache:two")
    end = "a colon or semicolon in its name divides a list of folders; set TMPDIR to another folder"
    assert refusal(folder, search=(folder,)) == f"/cache:two: {end}"


def test_this_machine_will_do(tmp_path: Path) -> None:
    places = usual_places(tmp_path, tmp_path / "system")
    assert Path(__file__).parents[3] in places
    check_places(places, GUEST_OWN)
