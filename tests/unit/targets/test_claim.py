from __future__ import annotations

import subprocess
import sys

from proxybench.targets.claim import claimed

HOLD = """
import sys
from proxybench.targets.claim import claimed
with claimed(sys.argv[1]) as free:
    print(free, flush=True)
    sys.stdin.read()
"""


def test_a_name_is_one_processs_at_a_time_and_free_again_when_that_was_killed() -> None:
    name = "a test's of claims"
    argv = [sys.executable, "-c", HOLD, name]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "True\n"
        with claimed(name) as free, claimed(f"{name}, another") as another:
            assert (free, another) == (False, True)
        other.kill()
    for _ in range(2):
        with claimed(name) as free:
            assert free


def test_a_name_may_be_long() -> None:
    """As that of an API server in a cloud is, of which a socket's name holds no half."""
    name = f"cluster https://{'a-long-name.' * 20}example:443"
    with claimed(name) as free, claimed(f"{name}1") as other, claimed(name) as again:
        assert (free, other, again) == (True, True, False)
