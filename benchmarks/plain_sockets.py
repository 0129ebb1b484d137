"""The two ends of ``agreement``'s traffic, by plain sockets and nothing of proxybench's: ``backend``, and ``probe``.

``backend PORT`` answers each connection with the address that it came to. ``probe`` reads one JSON list per line and
answers in one line: ["await", HOST, PORT, SECONDS]: when HOST first answered (CLOCK_MONOTONIC, ns; null: never);
["connect", HOST, PORT, COUNT]: how long each of so many connect() took, in ns.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time

EVERY_S = 0.002
MOST = 32  # attempts at a time


def main() -> None:
    if sys.argv[1:2] == ["backend"]:
        backend(int(sys.argv[2]))
    for line in sys.stdin:
        what, host, port, number = json.loads(line)
        found = first_answer(host, port, number) if what == "await" else connects(host, port, number)
        print(json.dumps(found), flush=True)


def backend(port: int) -> None:
    listener = socket.create_server(("0.0.0.0", port), backlog=4096)  # noqa: S104 - in a namespace of its own
    print("ready", flush=True)
    while True:
        sock, _ = listener.accept()
        with sock:
            sock.sendall(f"{sock.getsockname()[0]}\n".encode())


def first_answer(host: str, port: int, seconds: float) -> int | None:
    """Connect anew every 2 ms until a connection says something."""
    pending: list[socket.socket] = []
    end = time.monotonic() + seconds
    try:
        while time.monotonic() < end:
            due = time.monotonic() + EVERY_S
            sock = socket.socket()
            sock.settimeout(0)
            if sock.connect_ex((host, port)):
                pending.append(sock)
            while (left := due - time.monotonic()) > 0:
                for ready in select.select(pending, [], [], left)[0]:
                    if heard(ready):
                        return time.monotonic_ns()
                    pending.remove(ready)
                    ready.close()
            while len(pending) > MOST:
                pending.pop(0).close()
        return None
    finally:
        for sock in pending:
            sock.close()


def heard(sock: socket.socket) -> bool:
    try:
        return bool(sock.recv(64))
    except OSError:
        return False


def connects(host: str, port: int, count: int) -> list[int]:
    """Time connect() one after the other; each connection is read to its end."""
    found = []
    for _ in range(count):
        with socket.socket() as sock:  # blocking: with a time-out, Python's connect() is two calls and a poll
            begun = time.monotonic_ns()
            sock.connect((host, port))
            found.append(time.monotonic_ns() - begun)
            while sock.recv(64):
                pass
    return found


if __name__ == "__main__":
    main()
