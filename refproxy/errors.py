"""What the reference proxier raises on purpose; the text is one clear line. Exit codes: 2 usage, 3 everything else."""

from __future__ import annotations


class RefproxyError(Exception):
    """Base of all errors whose text is meant for the user."""

    exit_code = 3


class UsageError(RefproxyError):
    """The arguments or the configuration are wrong."""

    exit_code = 2


class ApiError(RefproxyError):
    """The Kubernetes API refused a request or did not answer."""

    def __init__(self, message: str, status: int | None = None) -> None:
        self.status = status
        super().__init__(message)


class ProxierError(RefproxyError):
    """The data plane could not be programmed or read."""
