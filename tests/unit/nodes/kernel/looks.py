"""What a node's executor is asked when its kernel state is captured, for the strict fake."""

from __future__ import annotations

from proxybench.hosts import batch
from proxybench.nodes.kernel.capture import Tools, commands
from proxybench.testing.hosts import Run, done
from tests.factories import MARK

_ORDER = ("iptables", "ip6tables", "nft", "sets", "links", "servers", "sysctls")


def look(tools: Tools | None = None, *, without: str = "", **texts: str) -> Run:
    """Expect one capture; ``texts`` are outputs by reading, else "". The program of the reading ``without`` is missing.

    For tests that know the mark of ``run_together`` (the fixture ``known_mark``).
    """
    assert set(texts) <= set(_ORDER)
    ends = [(texts.get(name, ""), 127 if name == without else 0) for name in _ORDER]
    stdout = "".join(f"{text}\n{MARK} {code}\n" for text, code in ends)
    return Run(["sh", "-c", batch.script(commands(tools or Tools()), MARK)], done(stdout))
