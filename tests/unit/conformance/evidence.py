"""For each property: evidence with which it holds, and evidence of each way in which it can be broken."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from proxybench.conformance.judge import Affinity, Deleted, Drained, Fallback, Health, Ignored, Moved, Ranges, Seen
from proxybench.model import Mode
from proxybench.nodes.exchange import ExchangeResult, Heard, PingResult, Said

A, B, STRANGER = "10.244.0.1", "10.244.0.2", "10.244.9.9"
CLIENT, NODE2 = "198.18.1.10", "198.18.1.12"


def result(*heard: tuple[str, int], peer: str = CLIENT, timeouts: int = 0, slowest_ms: int = 0, **errors: int) -> Any:
    """Return how connections ended: (endpoint, how many), and errors by name."""
    made = sum(count for _, count in heard) + timeouts + sum(errors.values())
    answers = tuple(Heard(by, peer, count) for by, count in heard)
    return ExchangeResult(answers, dict(errors), timeouts, made, slowest_ms * 1_000_000)


def seen(*heard: tuple[str, int], expected: tuple[str, ...] = (A, B), **more: Any) -> Seen:
    return Seen(result(*heard, **more), expected)


@dataclass(frozen=True)
class Case:
    """``holds`` is evidence in ``mode``, ``how`` its text; ``broken`` is other evidence, by the text of its fault."""

    holds: Any
    how: str
    broken: dict[str, Any]
    mode: Mode = Mode.IPTABLES


GOOD = seen((A, 12), (B, 8))
ANSWERED = "n = 20: 12 by 10.244.0.1, 8 by 10.244.0.2"
_ANSWERS = {
    "2 of 20 got no answer; n = 20: 18 by 10.244.0.1, 2 without an answer": seen((A, 18), timeouts=2),
    "20 of 20 got no answer; n = 20: 20 refused": seen(ECONNREFUSED=20),
    "answered by 10.244.9.9; n = 20: 19 by 10.244.0.1, 1 by 10.244.9.9": seen((A, 19), (STRANGER, 1)),
    "0 of 0 got no answer; n = 0: nothing": seen(),
}
_AFFINITY = Affinity(seen((A, 20)), 4.5, (A, B))
_IGNORED = Ignored(result(timeouts=2), (), ())
_MOVED = Moved(A, B, Said(A, ""), (Said(A, ""), Said(A, ""), Said(B, "")))
_FALLBACK = Fallback(seen((A, 20), expected=(A,)), seen((B, 20), expected=(B,)))
_DRAINED = Drained(A, Said(A, ""), (Said(A, ""),) * 5, seen((B, 20), expected=(B,)))
_RANGES = Ranges(seen((A, 10), expected=(A,)), result(timeouts=2))
_RULE = "-A KUBE-SERVICES -d 10.96.0.1/32 -j KUBE-SVC-A"
_SNAT = (seen((A, 10), peer=NODE2), NODE2)
_TRUE = (seen((A, 10), peer=CLIENT), CLIENT)

CASES: dict[str, Case] = {
    "vip-answers": Case(GOOD, ANSWERED, _ANSWERS),
    "endpoint-shares": Case(
        seen((A, 210), (B, 190)),
        "n = 400: 210 by 10.244.0.1, 190 by 10.244.0.2; chi-squared 1.00, p = 0.32",
        {
            "p is below 0.0001; n = 400: 240 by 10.244.0.1, 160 by 10.244.0.2; chi-squared 16.00, p = 6.3e-05": seen(
                (A, 240), (B, 160)
            ),
            "p is below 0.0001; n = 40: 40 by 10.244.0.1; chi-squared 40.00, p = 2.5e-10": seen((A, 40)),
            "4 of 4 got no answer; n = 4: 4 without an answer; chi-squared 0.00, p = 1": seen(timeouts=4),
        },
    ),
    "not-ready": Case(
        seen((A, 20), expected=(A,)),
        "n = 20: 20 by 10.244.0.1",
        {"answered by 10.244.0.2; n = 20: 11 by 10.244.0.1, 9 by 10.244.0.2": seen((A, 11), (B, 9), expected=(A,))},
    ),
    "no-endpoints": Case(
        result(ECONNREFUSED=5, slowest_ms=3),
        "n = 5: 5 refused within 3 ms",
        {
            "1 answered; n = 5: 1 by 10.244.0.1, 4 refused within 3 ms": result((A, 1), ECONNREFUSED=4, slowest_ms=3),
            "5 met silence; n = 5: 5 without an answer within 0 ms": result(timeouts=5),
            "ended in ECONNRESET; n = 5: 5 ECONNRESET within 3 ms": result(ECONNRESET=5, slowest_ms=3),
            "the slowest took 1600 ms; n = 5: 5 refused within 1600 ms": result(ECONNREFUSED=5, slowest_ms=1600),
            "nothing was tried; n = 0: nothing within 0 ms": result(),
        },
    ),
    "undefined-port": Case(
        result(ECONNREFUSED=2),
        "n = 2: 2 refused",
        {
            "2 answered; not refused; n = 2: 2 by 10.244.0.1": result((A, 2)),
            "not refused; n = 2: 2 without an answer": result(timeouts=2),
            "nothing was tried; n = 0: nothing": result(),
        },
        Mode.NFTABLES,
    ),
    "ping": Case(
        PingResult(3, 0),
        "n = 3: 0 replies",
        {"it must not answer; n = 3: 3 replies": PingResult(3, 3)},
    ),
    "node-port-snat": Case(
        _SNAT,
        "n = 10: 10 by 10.244.0.1; endpoints saw the second node's 198.18.1.12",
        {
            "endpoints saw 198.18.1.10 and not the second node's 198.18.1.12; n = 10: 10 by 10.244.0.1": (
                seen((A, 10), peer=CLIENT),
                NODE2,
            ),
            "10 of 10 got no answer; n = 10: 10 without an answer; endpoints saw the second node's 198.18.1.12": (
                seen(timeouts=10),
                NODE2,
            ),
        },
    ),
    "local-client-address": Case(
        _TRUE,
        "n = 10: 10 by 10.244.0.1; endpoints saw the client's 198.18.1.10",
        {
            "endpoints saw 198.18.1.12 and not the client's 198.18.1.10; n = 10: 10 by 10.244.0.1": (
                seen((A, 10), peer=NODE2),
                CLIENT,
            ),
        },
    ),
    "local-drop": Case(
        result(timeouts=2),
        "n = 2: 2 without an answer",
        {
            "2 answered; n = 2: 2 by 10.244.0.1": result((A, 2)),
            "2 ended at once and not by a time-out; n = 2: 2 refused": result(ECONNREFUSED=2),
            "nothing was tried; n = 0: nothing": result(),
        },
    ),
    "health-check-node-port": Case(
        Health(200, 503),
        "with a local endpoint 200, without 503",
        {
            "the node with a local endpoint said nothing, not 200; with a local endpoint 0, without 503": Health(
                0, 503
            ),
            "the node without one said 200, not 503; with a local endpoint 200, without 200": Health(200, 200),
        },
    ),
    "source-ranges": Case(
        _RANGES,
        "within n = 10: 10 by 10.244.0.1; outside n = 2: 2 without an answer",
        {
            "outside of them 2 answered; within n = 10: 10 by 10.244.0.1; outside n = 2: 2 by 10.244.0.1": replace(
                _RANGES, outside=result((A, 2))
            ),
            "within the ranges 10 of 10 got no answer; within n = 10: 10 without an answer; outside n = 2: "
            "2 without an answer": replace(_RANGES, inside=seen(timeouts=10, expected=(A,))),
        },
    ),
    "client-ip-affinity": Case(
        _AFFINITY,
        "n = 20: 20 by 10.244.0.1; timeout 3 s; after silences of 4.5 s: 10.244.0.1, 10.244.0.2",
        {
            "2 endpoints answered within the timeout; still the same after 1 silences; "
            "n = 20: 12 by 10.244.0.1, 8 by 10.244.0.2; timeout 3 s; after silences of 4.5 s: 10.244.0.1": replace(
                _AFFINITY, together=GOOD, later=(A,)
            ),
            "still the same after 4 silences; n = 20: 20 by 10.244.0.1; timeout 3 s; after silences of 4.5 s: "
            "10.244.0.1, 10.244.0.1, 10.244.0.1, 10.244.0.1": replace(_AFFINITY, later=(A,) * 4),
            "20 of 20 got no answer; still the same after 0 silences; n = 20: 20 refused; timeout 3 s; "
            "after silences of 4.5 s: nobody": replace(_AFFINITY, together=seen(ECONNREFUSED=20), later=()),
        },
    ),
    "others-ignored": Case(
        _IGNORED,
        "foreign n = 2: 2 without an answer; 0 rules name either",
        {
            "2 answered; foreign n = 2: 2 by 10.244.0.1; 0 rules name either": replace(
                _IGNORED, foreign=result((A, 2))
            ),
            f"a rule names the foreign one: {_RULE}; foreign n = 2: 2 without an answer; 1 rules name either": replace(
                _IGNORED, foreign_rules=(_RULE,)
            ),
            f"a rule names the headless one: {_RULE}; foreign n = 2: 2 without an answer; 1 rules name either": replace(
                _IGNORED, headless_rules=(_RULE,)
            ),
        },
    ),
    "hairpin": Case(GOOD, ANSWERED, _ANSWERS),
    "udp-follows": Case(
        _MOVED,
        "10.244.0.1 before, then n = 3: 2 by 10.244.0.1, 1 by 10.244.0.2",
        {
            "at last, 10.244.0.1 answered and not 10.244.0.2; 10.244.0.1 before, then n = 2: 2 by 10.244.0.1": replace(
                _MOVED, after=(Said(A, ""),) * 2
            ),
            "at last, nobody (TIMEOUT) answered and not 10.244.0.2; 10.244.0.1 before, then n = 2: "
            "2 by nobody (TIMEOUT)": replace(_MOVED, after=(Said(None, "TIMEOUT"),) * 2),
            "before, nobody (ECONNREFUSED) answered and not 10.244.0.1; 10.244.0.1 before, then n = 3: "
            "2 by 10.244.0.1, 1 by 10.244.0.2": replace(_MOVED, before=Said(None, "ECONNREFUSED")),
            "at last, 10.244.0.1 answered and not 10.244.0.2; 10.244.0.1 before, then n = 0: nothing": replace(
                _MOVED, after=()
            ),
        },
    ),
    "terminating-fallback": Case(
        _FALLBACK,
        "beside a ready one n = 20: 20 by 10.244.0.1; alone n = 20: 20 by 10.244.0.2",
        {
            "beside a ready one answered by 10.244.0.2; beside a ready one n = 20: 12 by 10.244.0.1, 8 by 10.244.0.2; "
            "alone n = 20: 20 by 10.244.0.2": replace(_FALLBACK, beside=seen((A, 12), (B, 8), expected=(A,))),
            "alone 20 of 20 got no answer; beside a ready one n = 20: 20 by 10.244.0.1; alone n = 20: "
            "20 refused": replace(_FALLBACK, alone=seen(ECONNREFUSED=20, expected=(B,))),
        },
    ),
    "drained-connections": Case(
        _DRAINED,
        "established n = 5: 5 by 10.244.0.1; new n = 20: 20 by 10.244.0.2",
        {
            "the connection broke: nobody (ECONNRESET); established n = 2: 1 by 10.244.0.1, 1 by nobody (ECONNRESET); "
            "new n = 20: 20 by 10.244.0.2": replace(_DRAINED, after=(Said(A, ""), Said(None, "ECONNRESET"))),
            "new connections answered by 10.244.0.1; established n = 5: 5 by 10.244.0.1; new n = 20: "
            "20 by 10.244.0.1": replace(_DRAINED, new=seen((A, 20), expected=(B,))),
            "before, nobody (TIMEOUT) answered and not 10.244.0.1; nothing was said afterwards; established n = 0: "
            "nothing; new n = 20: 20 by 10.244.0.2": replace(_DRAINED, before=Said(None, "TIMEOUT"), after=()),
        },
    ),
    "deleted-leaves-nothing": Case(
        Deleted((_RULE,) * 3, (), result(timeouts=2)),
        "3 rules before, 0 after; n = 2: 2 without an answer",
        {
            f"left: {_RULE}; 3 rules before, 1 after; n = 2: 2 without an answer": Deleted(
                (_RULE,) * 3, (_RULE,), result(timeouts=2)
            ),
            "2 still answered; 3 rules before, 0 after; n = 2: 2 by 10.244.0.1": Deleted(
                (_RULE,) * 3, (), result((A, 2))
            ),
            "no rule named it while it was there; 0 rules before, 0 after; n = 2: 2 without an answer": Deleted(
                (), (), result(timeouts=2)
            ),
        },
    ),
}
