from __future__ import annotations

import pytest

from tests.unit.subjects.rig import MARK


@pytest.fixture(autouse=True)
def known_mark(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the mark that ends each command's output be known (hosts.batch)."""
    monkeypatch.setattr("secrets.token_hex", lambda _: MARK)
