from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from proxybench.kube.objects import AddressPlan, Population
from proxybench.targets.lab.apiserver.serve_process import ApiServerProcess
from tests.factories import MARK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# No test is a stopwatch: a busy machine needs 450 ms for what takes 40. How fast things are is asked in benchmarks/.
settings.register_profile("untimed", settings.get_profile(settings.get_current_profile_name()), deadline=None)
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def server() -> Iterator[ApiServerProcess]:
    with ApiServerProcess(addresses=["198.18.0.1"]) as running:
        yield running


@pytest.fixture
def hears_ctrl_c() -> Iterator[None]:
    """Let SIGINT interrupt, as at a terminal: who starts the tests in the background may have it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def known_mark(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the mark that ends each command's output be known; else it is another one each time (hosts.batch)."""
    monkeypatch.setattr("secrets.token_hex", lambda _: MARK)


@pytest.fixture
def plan() -> AddressPlan:
    return AddressPlan("10.96.0.0/12", (("node1", "10.244.0.0/17"), ("node2", "10.244.128.0/17")), 8080)


@pytest.fixture
def population(plan: AddressPlan) -> Population:
    return Population(plan, endpoints_per_service=2)


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool]], None]:
    def wait(holds: Callable[[], bool]) -> None:
        end = time.monotonic() + 10
        while not holds():
            assert time.monotonic() < end, "it did not come true within 10 s"
            time.sleep(0.01)

    return wait
