"""Reading the fields of a request strictly: what is missing, wrong or unknown is named in one line."""

from __future__ import annotations

TYPE_CHECKING = False  # typing costs start-up time on a slow node; type checkers know this name
if TYPE_CHECKING:
    from typing import Any


AF_INET = 2  # as the socket module says, whose import takes time that only measuring should


class OpError(Exception):
    """A request that cannot be carried out; its text is the one line that the orchestrator sees."""


class Fields:
    """The fields of one request. Every reader removes what it read, so that ``finish`` finds what nobody knows.

    A ``default`` of None makes a field required, except where the reader says that it may be absent.
    All readers raise OpError.
    """

    def __init__(self, raw: dict[str, Any]) -> None:
        self._left = dict(raw)

    def _take(self, name: str, default: object) -> Any:  # noqa: ANN401 - JSON may hold anything; callers check
        value = self._left.pop(name, default)
        if value is None:
            raise OpError(f"{name} is missing")
        return value

    def text(self, name: str, default: str | None = None) -> str:
        """Return a non-empty text."""
        value = self._take(name, default)
        if not isinstance(value, str) or not value:
            raise OpError(f"{name} must be a text that is not empty")
        return value

    def maybe_text(self, name: str) -> str | None:
        """Return a non-empty text, or None when it is absent or null."""
        if self._left.get(name) is None:
            self._left.pop(name, None)
            return None
        return self.text(name)

    def whole(self, name: str, low: int, high: int, default: int | None = None) -> int:
        """Return a whole number from ``low`` to ``high``."""
        value = self._take(name, default)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise OpError(f"{name} must be a whole number from {low} to {high}")
        return value

    def number(self, name: str, low: float, high: float, default: float | None = None) -> float:
        """Return a number from ``low`` to ``high``."""
        value = self._take(name, default)
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not low <= value <= high:
            raise OpError(f"{name} must be a number from {low:g} to {high:g}")
        return float(value)

    def texts(self, name: str) -> list[str]:
        """Return a list of texts, which may be empty."""
        value = self._take(name, None)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise OpError(f"{name} must be a list of texts")
        return value

    def maybe_texts(self, name: str) -> list[str] | None:
        """Return a list of texts, or None when it is absent or null."""
        if self._left.get(name) is None:
            self._left.pop(name, None)
            return None
        return self.texts(name)

    def text_map(self, name: str) -> dict[str, str]:
        """Return a mapping of texts to texts; empty when absent."""
        value = self._left.pop(name, None)
        if value is None:
            return {}
        if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
            raise OpError(f"{name} must map texts to texts")
        return value

    def maybe_map(self, name: str) -> dict[str, Any] | None:
        """Return a JSON object, or None when it is absent or null."""
        value = self._left.pop(name, None)
        if value is not None and not isinstance(value, dict):
            raise OpError(f"{name} must be an object")
        return value

    def groups(self, name: str, least: int = 1) -> list[Fields]:
        """Return a list of at least so many objects, each to be read (and finished) like a request of its own."""
        value = self._take(name, None)
        if not isinstance(value, list) or len(value) < least or not all(isinstance(item, dict) for item in value):
            raise OpError(f"{name} must be a list of objects" + (" that is not empty" if least else ""))
        return [Fields(item) for item in value]

    def finish(self) -> None:
        """Raise OpError when a field was never read."""
        if self._left:
            raise OpError(f"unknown field {min(self._left)}")


def family_of(text: str) -> int:
    """Return the family of sockets that reach an address of IPv4 (dotted) or IPv6.

    Raise OpError for anything else: names are never resolved.
    """
    if ":" in text:
        import socket  # noqa: PLC0415 - see above

        try:
            socket.inet_pton(socket.AF_INET6, text)
        except OSError:
            raise OpError(f"{text} is no address of IPv6") from None
        return socket.AF_INET6
    parts = text.split(".")
    if len(parts) != 4 or not all(  # noqa: PLR2004 - an IPv4 address has four parts
        part.isascii() and part.isdigit() and part == str(int(part)) and int(part) < 256  # noqa: PLR2004 - of a byte
        for part in parts
    ):
        raise OpError(f"{text} is not an IPv4 address")
    return AF_INET
