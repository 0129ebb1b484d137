"""Passphrases and passwords: from an environment variable, or asked once on a terminal; kept in memory only."""

from __future__ import annotations

import os
import sys
from getpass import getpass
from typing import TYPE_CHECKING

from proxybench.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def _on_terminal(question: str) -> str | None:
    return getpass(question) if sys.stdin.isatty() else None


class Secrets:
    """Finds secrets; each is asked for once. ``ask`` returns what was typed, None where nobody can be asked."""

    def __init__(
        self,
        environment: Mapping[str, str] | None = None,
        ask: Callable[[str], str | None] = _on_terminal,
    ) -> None:
        self._environment = os.environ if environment is None else environment
        self._ask = ask
        self._known: dict[str, str] = {}

    def given(self, variable: str) -> bool:
        """Tell whether the environment has a secret, so that nobody is asked."""
        return variable in self._environment

    def get(self, what: str, variable: str) -> str:
        """Return a secret; ``what`` names it for people. Raises UsageError when it cannot be had."""
        found = self._environment.get(variable)
        if found is not None:
            return found
        if what not in self._known:
            typed = self._ask(f"{what}: ")
            if typed is None:
                raise UsageError(f"{what} is needed, and nobody can be asked; set {variable}, or use an ssh-agent")
            self._known[what] = typed
        return self._known[what]
