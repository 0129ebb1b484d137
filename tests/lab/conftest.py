"""Which lab tests may run beside each other, where pytest-xdist has two workers (`make lab-tests`)."""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give one worker to all tests that do not say otherwise.

    They compare what is on this machine before and after, so two at a time would see each other.
    """
    for item in items:
        if item.path.is_relative_to(HERE) and item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group("machine"))
