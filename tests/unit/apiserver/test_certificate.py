from __future__ import annotations

import pytest
from cryptography import x509

from proxybench.targets.lab.apiserver.certificate import make_certificate


def test_the_certificate_names_every_way_to_the_server() -> None:
    made = x509.load_pem_x509_certificate(make_certificate(["198.18.0.1", "10.0.2.2"]).certificate)
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    found = [str(address) for address in names.get_values_for_type(x509.IPAddress)]
    assert found == ["127.0.0.1", "198.18.0.1", "10.0.2.2"]


def test_what_is_no_address_is_refused() -> None:
    with pytest.raises(ValueError, match="'node1' does not appear to be an IPv4 or IPv6 address"):
        make_certificate(["node1"])
