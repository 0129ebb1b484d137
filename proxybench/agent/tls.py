"""TLS over a socket that is read here and not by the library, so that the kernel's stamps of what arrives are seen.

A wrapped socket would read for itself, and all that could be told is when its reader had the processor: on a node with
one, after the control loop has done the work whose beginning is to be told.
"""

from __future__ import annotations

import ssl

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket

CHUNK = 65_536


class Tls:
    """The client's end of a TLS connection; blocking until ``shake_hands`` is done, never after the socket is not.

    ``authorities`` is a PEM text of authorities to trust instead of the system's.
    """

    def __init__(self, sock: socket.socket, host: str, authorities: str | None) -> None:
        self._sock = sock
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        context = ssl.create_default_context(cadata=authorities)
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._unsent = b""

    @property
    def unsent(self) -> bool:
        """Whether sealed bytes wait for room in the socket's buffer."""
        return bool(self._unsent)

    def shake_hands(self) -> None:
        """Agree with the server on keys, and check its certificate. Raises OSError (ssl.SSLError among them)."""
        while not self._agreed():
            self._sock.sendall(self._outgoing.read())
            self._feed(self._sock.recv(CHUNK))
        self._sock.sendall(self._outgoing.read())

    def seal(self, data: memoryview) -> None:
        """Take bytes to send; ``flush`` sends them."""
        self._tls.write(data)
        self._unsent += self._outgoing.read()

    def flush(self) -> None:
        """Send what was sealed. Raises BlockingIOError while there is no room for all of it."""
        while self._unsent:
            self._unsent = self._unsent[self._sock.send(self._unsent) :]

    def open(self, sealed: bytes) -> bytes:
        """Return what was sent in bytes that arrived, b"" for none of it being whole yet."""
        self._feed(sealed)
        opened = b""
        try:
            while piece := self._tls.read(CHUNK):
                opened += piece
        except (ssl.SSLWantReadError, ssl.SSLZeroReturnError):
            pass
        return opened

    def _agreed(self) -> bool:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def _feed(self, sealed: bytes) -> None:
        if sealed:
            self._incoming.write(sealed)
        else:
            self._incoming.write_eof()
