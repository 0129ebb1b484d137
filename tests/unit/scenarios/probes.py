"""What a probe saw, made from the few numbers that matter."""

from __future__ import annotations

from proxybench.nodes.answers import AwaitResult


def seen(
    first: int | None,
    *,
    end: int = 900,
    other: int | None = None,
    gap: int | None = None,
    attempts: int = 9,
    took: int = 0,
) -> AwaitResult:
    """Return an answer at ``first`` (None: never, and given up at ``end``), to an attempt that ``took`` so long.

    It was sent ``gap`` after the attempt before it.
    """
    return AwaitResult(
        start_ns=0,
        first_ns=first,
        sent_ns=None if first is None else first - took,
        interval_at_success_ns=gap,
        last_other_ns=other,
        answered_by=None,
        attempts=attempts,
        answers=1,
        errors={},
        end_ns=end,
        censored=first is None,
    )
