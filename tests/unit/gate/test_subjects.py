from __future__ import annotations

import pytest

from proxybench.errors import UsageError
from proxybench.gate.subjects import subject_differences, without
from proxybench.testing.model import make_key, make_subject

OLD, NEW = make_subject(kind="kube-proxy", version="v1.33.2"), make_subject(kind="kube-proxy", version="v1.37.2")
NFT = make_subject(kind="kube-proxy", version="v1.37.2", iptables="nft")


def test_the_same_subject_is_comparable_whatever_stands_beside_it() -> None:
    assert subject_differences([OLD, NEW], [NEW]) == ()
    assert subject_differences([OLD], [make_subject("ipvs")]) == ()  # its numbers are just not there


def test_another_version_or_setting_is_named() -> None:
    assert subject_differences([OLD], [NEW]) == ("version: v1.33.2 -> v1.37.2 (kube-proxy iptables)",)
    assert subject_differences([OLD], [NFT]) == (
        "version: v1.33.2 -> v1.37.2 (kube-proxy iptables)",
        "settings: none -> iptables=nft (kube-proxy iptables)",
    )
    assert subject_differences([OLD], [NFT], ["version"]) == ("settings: none -> iptables=nft (kube-proxy iptables)",)
    assert subject_differences([OLD], [NFT], ["version", "settings"]) == ()
    assert subject_differences([OLD], [make_subject(version="v1.33.2")], ["kind"]) == ()


def test_numbers_meet_without_what_may_differ() -> None:
    old, new = make_key(kind="kube-proxy", version="v1.33.2"), make_key(kind="kube-proxy", version="v1.37.2")
    assert without({old: 1}, ["version"], "base").keys() == without({new: 2}, ["version"], "new").keys()
    assert without({old: 1, new: 2}, ["kernel"], "base") == {old: 1, new: 2}


def test_two_subjects_that_would_become_one_are_refused() -> None:
    series = {make_key(kind="kube-proxy", version=version): 1 for version in ("v1.33.2", "v1.37.2")}
    with pytest.raises(UsageError) as caught:
        without(series, ["version"], "the base")
    assert str(caught.value) == (
        "the base holds kube-proxy v1.33.2 iptables, kube-proxy v1.37.2 iptables: across version they are one; "
        "name a run that holds one of them"
    )
