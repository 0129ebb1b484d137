from __future__ import annotations

import re
import socket
import ssl
import threading
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxybench.agent.fields import Fields, OpError
from proxybench.agent.http import SO_TIMESTAMPNS, TIMESPEC, Api, Url, Write, Writer, arrival, parse_response
from tests.unit.agent.certificates import certificate

if TYPE_CHECKING:
    from pathlib import Path


def parsed(data: bytes, *, closed: bool = False) -> tuple[int, bytes] | None:
    response = parse_response(data, closed=closed)
    return None if response is None else (response.status, response.body)


@given(st.integers(200, 599).filter(lambda status: status not in (204, 304)), st.binary(max_size=300), st.data())
def test_a_body_with_a_length_is_whole_with_its_last_byte(status: int, body: bytes, data: st.DataObject) -> None:
    whole = b"HTTP/1.1 %d Some Words\r\nContent-length: %d\r\n\r\n%s" % (status, len(body), body)
    assert parsed(whole) == (status, body)
    cut = data.draw(st.integers(0, len(whole) - 1))
    assert parsed(whole[:cut]) is None


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=5), st.data())
def test_chunks_are_joined(chunks: list[bytes], data: st.DataObject) -> None:
    body = b"".join(b"%x;ext=1\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n"
    whole = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body
    assert parsed(whole) == (200, b"".join(chunks))
    cut = data.draw(st.integers(0, len(whole) - 1))
    assert parsed(whole[:cut]) is None


def test_a_body_without_a_length_ends_with_the_connection() -> None:
    data = b"HTTP/1.0 200 OK\r\n\r\nall of it"
    assert parsed(data) is None
    assert parsed(data, closed=True) == (200, b"all of it")


def test_informational_and_empty_responses() -> None:
    data = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n"
    assert parsed(data) == (204, b"")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the server closed the connection before it answered"),
        (b"HTTP/1.1 200 OK\r\n", "the server closed the connection before it answered"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab",
            "the server closed the connection in the middle of its answer",
        ),
        (b"SSH-2.0 x\r\n\r\n", "the server did not answer in HTTP/1"),
        (b"HTTP/1.1 OK\r\n\r\n", "the server did not answer in HTTP/1"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "the server's Content-Length is not a number"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "the server's chunks are not well formed"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n", "the server's chunks are not well formed"),
    ],
)
def test_what_is_not_a_whole_response_is_named(data: bytes, message: str) -> None:
    with pytest.raises(OpError, match=rf"^{re.escape(message)}$"):
        parse_response(data, closed=True)


@given(st.binary(max_size=200), st.booleans())
def test_no_bytes_do_more_than_raise_the_right_error(data: bytes, closed: bool) -> None:
    try:
        response = parse_response(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + data, closed=closed)
    except OpError:
        response = None
    assert response is None or response.status == 200


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("http://10.0.2.2:6443", (False, "10.0.2.2", 6443, "/")),
        ("https://api.example/base?x=1", (True, "api.example", 443, "/base?x=1")),
        ("http://localhost/", (False, "localhost", 80, "/")),
        ("https://[fd00::1]:6443/", (True, "fd00::1", 6443, "/")),
        ("https://[fd00::1]", (True, "fd00::1", 443, "/")),
    ],
)
def test_urls(text: str, parts: tuple[bool, str, int, str]) -> None:
    url = Url(text)
    assert (url.tls, url.host, url.port, url.path) == parts


@pytest.mark.parametrize(
    "text", ["ftp://x/", "http://", "http://x:port/", "x", "https://[fd00::1]6443/", "https://[]:1/"]
)
def test_wrong_urls(text: str) -> None:
    with pytest.raises(
        OpError, match=rf"^{re.escape(text)} is not an http or https URL of the form scheme://host:port/path$"
    ):
        Url(text)


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([(socket.SOL_SOCKET, SO_TIMESTAMPNS, TIMESPEC.pack(7, 999_999_000))], 5_000_000 - 1_000),
        ([(socket.SOL_SOCKET, SO_TIMESTAMPNS, TIMESPEC.pack(9, 0))], 5_000_000),  # the clock was set back meanwhile
        ([(socket.SOL_SOCKET, 29, TIMESPEC.pack(7, 0)), (socket.SOL_SOCKET, SO_TIMESTAMPNS, b"short")], 5_000_000),
        ([], 5_000_000),
    ],
)
def test_an_arrival_is_the_kernels_stamp_by_the_monotonic_clock(
    messages: list[tuple[int, int, bytes]], expected: int
) -> None:
    assert arrival(messages, 5_000_000, 8_000_000_000) == expected


def served(listener: socket.socket, secure: ssl.SSLContext | None, answered: list[int]) -> None:
    """Take one request, answer it, note when, and wait for the end of the connection."""
    plain, _ = listener.accept()
    peer = secure.wrap_socket(plain, server_side=True) if secure else plain
    with peer:
        peer.recv(1000)
        peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        answered.append(time.monotonic_ns())
        peer.recv(1)


@pytest.mark.parametrize("tls", [False, True])
def test_an_acknowledgement_counts_when_it_arrives_and_not_when_it_is_read(tls: bool, tmp_path: Path) -> None:
    secure, authority = None, None
    if tls:
        authority = certificate(tmp_path / "server.pem")
        secure = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        secure.load_cert_chain(tmp_path / "server.pem")
    answered: list[int] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=served, args=(listener, secure, answered))
        server.start()
        known = Api(Url(f"http{'s' if tls else ''}://localhost:{listener.getsockname()[1]}"), "t", authority)
        writer = Writer(known, [Write(Fields({"method": "DELETE", "path": "/x"}), known)], 5)
        time.sleep(0.05)  # the kernel begins to stamp a moment after it is asked to
        writer.start()
        time.sleep(0.3)
        while not writer.done:
            writer.step()
        writer.close()
        server.join()
    assert writer.start_ns is not None
    assert writer.start_ns <= writer.ack_ns[0] < answered[0] + 100_000_000


def test_a_request_is_rendered_to_the_byte() -> None:
    api = Api(Url("http://h:1/b"), "t", None)
    assert api.render("POST", "/p", {"a": 1}) == (
        b"POST /b/p HTTP/1.1\r\nHost: h:1\r\nAuthorization: Bearer t\r\nAccept: application/json\r\n"
        b'User-Agent: proxybench-agent\r\nContent-Type: application/json\r\nContent-Length: 7\r\n\r\n{"a":1}'
    )
