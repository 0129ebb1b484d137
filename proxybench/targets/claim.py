"""A name that one process of this machine holds at a time, whoever's it is: what two at once would spoil."""

from __future__ import annotations

import errno
import hashlib
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def claimed(name: str) -> Iterator[bool]:
    """Hold a name for the length of a ``with`` block; yield whether nobody else holds it.

    The name is an abstract socket's (unix(7)): it needs no file and no rights, and the kernel gives it free however its
    holder ends. Containers with a network of their own have names of their own.
    """
    short = hashlib.sha256(name.encode()).hexdigest()  # a socket's name has 107 bytes, and an API's may be longer
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as held:
        try:
            held.bind(f"\0proxybench {short}")
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            yield False
        else:
            yield True
