"""An address whose answer the test decides."""

from __future__ import annotations

import contextlib
import socket
import threading


class Talker:
    """Listens on 127.0.0.1; names itself as the test says, says nothing when ``name`` is empty, or hangs up."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.hang_up = False
        self.served = 0
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port: int = self.listener.getsockname()[1]
        self._held: list[socket.socket] = []
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self.listener.accept()
                if self.name:
                    with contextlib.suppress(OSError):
                        sock.sendall(f"{self.name} 127.0.0.1 1\n".encode())
                        self.served += 1
                if self.name or self.hang_up:
                    sock.close()
                else:
                    self._held.append(sock)

    def close(self) -> None:
        """Refuse from now on."""
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)  # which also wakes accept
        self._thread.join(5)
        self.listener.close()
        for sock in self._held:
            sock.close()


def free_port() -> int:
    """Return a port on which nothing listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
