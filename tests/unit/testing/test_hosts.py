from __future__ import annotations

import pytest

from proxybench.errors import CommandFailedError, ConnectionLostError
from proxybench.testing.hosts import FakeExecutor, FakeSession, Get, Line, Open, Put, Run, Sent, Step, done


def test_a_script_that_is_followed() -> None:
    session = FakeSession([Sent("hi"), Line("ho")])
    with FakeExecutor(
        "n",
        [
            Run(["a", "b"], done("out")),
            Run(("c",), done(code=2), stdin="in"),
            Open(["agent"], session),
            Put("/f", b"x", 0o644),
            Get("/f", b"x"),
        ],
    ) as node:
        assert node.name == "n"
        assert node.run(["a", "b"]).stdout == "out"
        assert node.run(["c"], stdin="in", check=False).code == 2
        opened = node.open(["agent"])
        opened.send_line("hi")
        assert opened.read_line(1) == "ho"
        opened.close()
        node.put(b"x", "/f", mode=0o644)
        assert node.get("/f") == b"x"
    node.assert_done()
    session.assert_done()
    assert node.closed


def test_scripted_errors_are_raised() -> None:
    lost = ConnectionLostError("gone")
    node = FakeExecutor(
        "n",
        [Run(["a"], lost), Run(["b"], done(code=1)), Open(["c"], lost), Put("/f", b"", error=lost), Get("/f", lost)],
    )
    with pytest.raises(ConnectionLostError):
        node.run(["a"])
    with pytest.raises(CommandFailedError, match=r"^n: `b` ended with code 1$"):
        node.run(["b"])
    with pytest.raises(ConnectionLostError):
        node.open(["c"])
    with pytest.raises(ConnectionLostError):
        node.put(b"", "/f")
    with pytest.raises(ConnectionLostError):
        node.get("/f")
    node.assert_done()
    session = FakeSession([Sent("x", lost), Line(lost)])
    with pytest.raises(ConnectionLostError):
        session.send_line("x")
    with pytest.raises(ConnectionLostError):
        session.read_line(1)


@pytest.mark.parametrize("stdin", [None, "other"])
def test_another_call_fails(stdin: str | None) -> None:
    node = FakeExecutor("n", [Run(["a"], stdin="in")])
    with pytest.raises(AssertionError, match=r"^n: unexpected call 1: run \['a'\] with stdin .*; expected Run\("):
        node.run(["a"], stdin=stdin)


def test_every_kind_of_call_is_checked() -> None:
    script: list[Step] = [Run(["a"]), Open(["a"], FakeSession()), Put("/f", b"x"), Get("/f", b"x")]
    with pytest.raises(AssertionError, match=r"expected Run"):
        FakeExecutor("n", script).open(["a"])
    with pytest.raises(AssertionError, match=r"expected Run"):
        FakeExecutor("n", script).put(b"x", "/f")
    with pytest.raises(AssertionError, match=r"expected Run"):
        FakeExecutor("n", script).get("/f")
    with pytest.raises(AssertionError, match=r"expected Open"):
        FakeExecutor("n", script[1:]).run(["a"])
    with pytest.raises(AssertionError, match=r"expected Put"):
        FakeExecutor("n", script[2:]).put(b"x", "/f", mode=0o777)


def test_a_call_too_many_or_too_few() -> None:
    with pytest.raises(AssertionError, match=r"^n: unexpected call 1: get /f; expected no more$"):
        FakeExecutor("n").get("/f")
    with pytest.raises(AssertionError, match=r"^n: 1 calls did not come, first Get\("):
        FakeExecutor("n", [Get("/f", b"")]).assert_done()
    with pytest.raises(AssertionError, match=r"^session: 1 calls did not come, first Line"):
        FakeSession([Line("x")]).assert_done()
    with pytest.raises(AssertionError, match=r"unexpected call 1: read_line within 1 s; expected no more$"):
        FakeSession().read_line(1)
    with pytest.raises(AssertionError, match=r"unexpected call 1: send_line 'y'; expected Sent"):
        FakeSession([Sent("x")]).send_line("y")
    with pytest.raises(AssertionError, match=r"unexpected call 1: read_line"):
        FakeSession([Sent("x")]).read_line(1)


def test_what_is_left_open_or_used_after_its_end() -> None:
    session = FakeSession()
    with pytest.raises(AssertionError, match=r"^session: was not closed$"):
        session.assert_done()
    session.close()
    with pytest.raises(AssertionError, match=r"after close$"):
        session.send_line("x")
    node = FakeExecutor("n", [Get("/f", b"")])
    node.close()
    with pytest.raises(AssertionError, match=r"^n: get /f after close$"):
        node.get("/f")
