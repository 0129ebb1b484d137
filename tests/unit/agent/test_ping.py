from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from proxybench.agent.ping import checksum
from proxybench.errors import AgentError
from proxybench.nodes.exchange import Ping, PingResult

if TYPE_CHECKING:
    from proxybench.nodes.client import AgentClient


def test_the_checksum_is_that_of_rfc_1071() -> None:
    # The example of RFC 1071, section 3: the sum of these bytes is ddf2.
    assert checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0xFFFF ^ 0xDDF2
    assert checksum(bytes.fromhex("08000000") + bytes(4)) == 0xF7FF


@pytest.mark.skipif(os.geteuid() != 0, reason="a raw socket needs root")
def test_the_loopback_answers(agent: AgentClient) -> None:
    assert agent.call(Ping("127.0.0.9", 3)) == PingResult(3, 3)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may")
def test_without_the_right_to_it_there_is_no_ping(agent: AgentClient) -> None:
    with pytest.raises(AgentError, match="ping: a ping needs root"):
        agent.call(Ping("127.0.0.1", 1))


@pytest.mark.skipif(os.geteuid() != 0, reason="a raw socket needs root")
def test_silence_and_unreachable_are_no_replies(agent: AgentClient) -> None:
    seen = agent.call(Ping("240.0.0.1", 2, timeout_ms=30))  # class E: nobody has it
    assert (seen.sent, seen.replies) == (2, 0)
