from __future__ import annotations

import pandas as pd

from proxybench.model import Mode, Subject
from proxybench.report.families import shown, split_families

SUBJECT = Subject("kube-proxy", "v1.37.2", Mode.IPTABLES, (("iptables", "nft"),))


def test_over_ipv6_it_is_a_subject_of_its_own() -> None:
    assert shown(SUBJECT, "ipv4") == SUBJECT
    assert shown(SUBJECT, "ipv6").label == "kube-proxy v1.37.2 iptables (family=ipv6 iptables=nft)"


def test_samples_of_two_families_are_of_two_subjects() -> None:
    four = pd.DataFrame({"family": ["ipv4"], "settings": ["iptables=nft"]}).astype("category")
    assert split_families(four) is four
    both = pd.DataFrame({"family": ["ipv4", "ipv6", "ipv6"], "settings": ["iptables=nft", "iptables=nft", ""]})
    for frame in (both, both.astype("category")):
        assert list(split_families(frame)["settings"]) == ["iptables=nft", "family=ipv6 iptables=nft", "family=ipv6"]
