from __future__ import annotations

import threading
from pathlib import Path

import pytest

from proxybench.cache import cache_folder, locked


def test_the_cache_is_the_users_unless_one_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PROXYBENCH_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("PROXYBENCH_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/some/cache")
    assert cache_folder() == Path("/some/cache/proxybench")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PROXYBENCH_CACHE", "here")  # nodes and daemons run in other folders
    assert cache_folder() == tmp_path / "here"


def test_a_lock_lets_one_in_and_tells_the_other_to_wait(tmp_path: Path) -> None:
    order: list[str] = []
    waiting = threading.Event()

    def second() -> None:
        with locked(tmp_path / "lock", waiting=waiting.set):
            order.append("second")

    other = threading.Thread(target=second)
    with locked(tmp_path / "lock", waiting=lambda: pytest.fail("nobody held it")):
        other.start()
        assert waiting.wait(10)
        order.append("first")
    other.join(10)
    assert order == ["first", "second"]
