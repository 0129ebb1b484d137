from __future__ import annotations

import errno
import struct
import subprocess
import sys

import pytest
from pyroute2.netlink.generic.ipvs import ipvsmsg  # as a second opinion

from proxybench.nodes.kernel import netlink


def test_an_ipv4_server_as_pyroute2_reads_it() -> None:
    message = netlink.delete_server(33, "UDP 10.96.0.10:53")
    found = ipvsmsg(message)
    found.decode()
    service = found.get_attr("IPVS_CMD_ATTR_SERVICE")
    assert (found["header"]["type"], found["cmd"]) == (33, 3)
    assert service.get_attr("IPVS_SVC_ATTR_AF") == 2
    assert service.get_attr("IPVS_SVC_ATTR_PROTOCOL") == 17
    assert service.get_attr("IPVS_SVC_ATTR_PORT") == 53
    assert service.get_attr("IPVS_SVC_ATTR_ADDR") == "10.96.0.10"
    assert len(message) == struct.unpack_from("=I", message)[0]


def test_an_ipv6_server() -> None:
    message = netlink.delete_server(33, "TCP [fd00::1]:80")
    assert bytes.fromhex("fd000000000000000000000000000001") in message
    assert struct.pack("=HH", 6, 1) + struct.pack("=H", 10) in message


def test_the_number_of_ipvs_is_found_behind_other_attributes() -> None:
    attributes = netlink.attribute(2, b"IPVS\0") + netlink.attribute(1, struct.pack("=H", 33))
    assert netlink.family_number(netlink.message(16, 0, b"\1\2\0\0" + attributes)) == 33
    with pytest.raises(OSError, match=r"^\[Errno 0\] the kernel's answer lacks the number of IPVS$"):
        netlink.family_number(netlink.message(16, 0, b"\1\2\0\0"))


def test_refusals() -> None:
    netlink.check(netlink.message(2, 0, struct.pack("=i", 0)))
    with pytest.raises(FileNotFoundError):
        netlink.family_number(netlink.message(2, 0, struct.pack("=i", -errno.ENOENT)))


def test_forgetting_names_no_family() -> None:
    assert netlink.forget_tracked().hex() == "14000000" + "0201" + "0500" + "00" * 8 + "00000000"


def test_it_needs_nothing_but_the_standard_library() -> None:
    source = netlink.__file__
    done = subprocess.run(
        [sys.executable, "-I", "-S", source, "ipvs"], input="", capture_output=True, text=True, timeout=20, check=False
    )
    # Where the kernel has no IPVS, or we have no rights, it says so in one line; else there is nothing to do.
    assert done.returncode in {0, 1}
    assert done.stderr.count("\n") == done.returncode
    assert done.stderr.startswith("ipvs: [Errno " if done.returncode else "")
