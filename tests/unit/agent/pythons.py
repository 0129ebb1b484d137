"""The interpreters that the agent must run on.

PROXYBENCH_TEST_AGENT_PYTHON names another than that of the tests, such as one that was built with musl.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

PYTHON = os.environ.get("PROXYBENCH_TEST_AGENT_PYTHON", sys.executable)
OLD_PYTHONS = sorted(Path.home().glob(".pyenv/versions/3.8.*/bin/python"))

both_pythons = pytest.mark.parametrize(
    "python",
    [
        pytest.param(PYTHON, id="this-python"),
        pytest.param(
            str(OLD_PYTHONS[0]) if OLD_PYTHONS else "",
            id="python3.8",
            marks=pytest.mark.skipif(not OLD_PYTHONS, reason="no Python 3.8 in ~/.pyenv"),
        ),
    ],
)
