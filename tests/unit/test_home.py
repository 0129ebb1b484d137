from __future__ import annotations

import os
import pwd
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest

from proxybench import home
from proxybench.cache import cache_folder
from proxybench.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

STRANGER = 54_321  # a uid that passwd does not have, as a container may give one


@pytest.fixture
def stranger(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process be of a user of whom the machine knows nothing."""

    def unknown(_uid: int) -> NoReturn:
        raise KeyError("getpwuid(): uid not found")

    for name in ("HOME", "LOGNAME", "USER", "LNAME", "USERNAME", "PROXYBENCH_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: STRANGER)
    monkeypatch.setattr(pwd, "getpwuid", unknown)


@pytest.mark.usefixtures("stranger")
@pytest.mark.parametrize(
    ("ask", "problem"),
    [
        (home.home, "your home is not known (no HOME, and passwd has no uid 54321); set HOME"),
        (cache_folder, "your home is not known (no HOME, and passwd has no uid 54321); set HOME"),
        (home.user, "your name is not known (passwd has no uid 54321); set LOGNAME"),
    ],
)
def test_who_is_not_known_is_told_what_to_set(ask: Callable[[], object], problem: str) -> None:
    with pytest.raises(UsageError) as raised:
        ask()
    assert str(raised.value) == problem


@pytest.mark.usefixtures("stranger")
def test_who_is_not_known_may_say_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("LOGNAME", "me")
    assert (home.home(), home.user(), home.expanded("~/a")) == (Path("/home/me"), "me", Path("/home/me/a"))
    assert cache_folder() == Path("/home/me/.cache/proxybench")


def test_a_home_of_nobody_stays_as_it_is_written() -> None:
    assert home.expanded("~nobody-of-that-name/a") == Path("~nobody-of-that-name/a")
