from __future__ import annotations

import pytest

from proxybench.model import Mode
from proxybench.subjects.driver import Capability
from proxybench.subjects.mode_check import check_mode


def test_a_mode_that_the_version_has() -> None:
    assert check_mode(Mode.IPTABLES, "v1.37.2") == Capability(supported=True)
    assert check_mode(Mode.IPVS, "v1.37.2") == Capability(supported=True, reason="ipvs is deprecated from 1.35")


def test_a_mode_that_it_has_not_says_which_has() -> None:
    assert check_mode(Mode.USERSPACE, "v1.37.2") == Capability(
        supported=False,
        reason="kube-proxy v1.37.2 has no userspace mode: userspace was removed in 1.26",
        fix="use 1.25 or older",
    )


def test_what_is_no_version() -> None:
    with pytest.raises(ValueError, match="is not a version of Kubernetes"):
        check_mode(Mode.IPVS, "newest")
