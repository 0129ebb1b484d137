"""What happens when the server itself is wrong."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp import web

from proxybench.targets.lab.apiserver.handler import ApiHandler
from proxybench.targets.lab.apiserver.store import Store

if TYPE_CHECKING:
    import pytest

FAILURE = {
    "kind": "Status",
    "apiVersion": "v1",
    "metadata": {},
    "status": "Failure",
    "message": "Internal error occurred: ZeroDivisionError: no luck",
    "reason": "InternalError",
    "details": {"causes": [{"message": "ZeroDivisionError: no luck"}]},
    "code": 500,
}


class Broken(Store):
    def select(self, *arguments: Any, **options: Any) -> Any:
        raise ZeroDivisionError("no luck")


async def ask(path: str) -> tuple[int, str, Any]:
    runner = web.ServerRunner(web.Server(ApiHandler(Broken(), "secret").handle))
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}{path}"
        headers = {"Authorization": "Bearer secret"}
        async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as response:
            return response.status, response.content_type, await response.json()
    finally:
        await runner.cleanup()


def test_a_mistake_of_the_server_is_a_status_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        assert asyncio.run(ask("/api/v1/services")) == (500, "application/json", FAILURE)
    assert [record.getMessage() for record in caplog.records] == ["GET /api/v1/services"]
    assert "ZeroDivisionError: no luck" in caplog.text


def test_a_watch_that_fails_tells_so_in_an_event(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        assert asyncio.run(ask("/api/v1/services?watch=1")) == (
            200,
            "application/json",
            {"type": "ERROR", "object": FAILURE},
        )
    assert [record.getMessage() for record in caplog.records] == ["a watch failed"]
