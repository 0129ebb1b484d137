from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def marked(known_mark: None) -> None:
    """Know the mark that ends each command's output, in every test of a driver."""
