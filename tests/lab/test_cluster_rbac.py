"""The documented roles against a real API server: they are enough for a run, and for a switch."""

from __future__ import annotations

import base64
import json
from contextlib import ExitStack, nullcontext
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from proxybench.errors import ApiError, UsageError
from proxybench.experiment.compat import KubeVersion
from proxybench.experiment.places import ClusterSpec
from proxybench.kube.base import Kind
from proxybench.kube.objects import NAMESPACE, AddressPlan
from proxybench.model import Mode
from proxybench.nodes.cluster import ApiAccess
from proxybench.scenarios.population import Populator
from proxybench.targets.cluster import access
from proxybench.targets.cluster.cleaning import clean
from proxybench.targets.cluster.switch.changes import CONFIG_MAP
from proxybench.targets.cluster.switch.daemon_set import DaemonSetWay
from proxybench.targets.cluster.target import open_api
from tests.lab.binaries import CLUSTER, ETCD, FIRST_BUILD_S, program
from tests.lab.control_plane import SERVICE_CIDR, control_plane, kubeconfig
from tests.lab.kubeadm import SETS, objects
from tests.lab.rbac import USER, grant

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.lab.control_plane import Access

pytestmark = [pytest.mark.lab, pytest.mark.timeout(2 * FIRST_BUILD_S)]

TELLS_ITS_RANGE = KubeVersion.of_release(CLUSTER) >= KubeVersion(1, 33)


class Authority:
    """Who vouches for the users of a cluster, by certificates."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.pem, _ = self.certify("authority", ca=True)

    def certify(self, name: str, *, ca: bool = False) -> tuple[bytes, bytes]:
        """Return a certificate of that name, and its key."""
        key = self._key if ca else ec.generate_private_key(ec.SECP256R1())
        issuer, subject = ([x509.NameAttribute(NameOID.COMMON_NAME, word)] for word in ("authority", name))
        made = (
            x509.CertificateBuilder()
            .subject_name(x509.Name(subject))
            .issuer_name(x509.Name(issuer))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(datetime.now(UTC) - timedelta(days=1))
            .not_valid_after(datetime.now(UTC) + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        pem = serialization.Encoding.PEM
        return made.public_bytes(pem), key.private_bytes(pem, *form)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def admin(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Access]:
    programs = program("etcd", ETCD), program("kube-apiserver", CLUSTER)
    folder = tmp_path_factory.mktemp("real")
    with control_plane(folder, *programs, users=[USER], client_ca=authority.pem) as found:
        for path, body in objects("mode: iptables\n"):
            code, answer = found.ask("POST", path, body)
            assert code == 201, answer
        status = {"status": {"observedGeneration": 1}}  # as its controller writes it, where there are no nodes
        patch = {"Content-Type": "application/merge-patch+json"}
        code, answer = found.ask("PATCH", f"{SETS}/kube-proxy/status", status, 10.0, **patch)
        assert code == 200, answer
        grant(found)
        yield found


def test_the_documented_roles_are_enough_and_no_more(admin: Access) -> None:
    first = ApiAccess(admin.url, admin.url, admin.ca_pem, USER)
    with ExitStack() as stack:
        user = open_api(first, stack)
        assert access.has_namespace(user)
        assert user.list(Kind.NODE) == []
        own = access.own_access(user, first, lambda: nullcontext(user))
        assert own.renew is not None
        assert own.renew(own.token) not in {own.token, USER}
        assert own.token != USER
        writer = open_api(own, stack)
        populator = Populator(writer, AddressPlan(SERVICE_CIDR, (("node1", "10.244.0.0/17"),), 8080))
        population = populator.reach(5, 2, 1, lambda _: None)
        populator.restore(population, 1)
        assert len(writer.list(Kind.SERVICE, NAMESPACE)) == 5
        populator.clear()
        populator.reach(2, 2, 1, lambda _: None)
        clean(user)
        assert admin.get(f"/api/v1/namespaces/{NAMESPACE}/services")["items"] == []
        with pytest.raises(ApiError, match="forbidden"):
            writer.list(Kind.SERVICE, "default")
        for change in DaemonSetWay(user).plan(Mode.NFTABLES, "registry.k8s.io/kube-proxy:v1.36.3", "mark"):
            found = user.ask("GET", change.path)
            user.ask("PUT", change.path, found)
        with pytest.raises(ApiError, match="forbidden"):
            writer.ask("GET", CONFIG_MAP)
        assert access.list_pods(user, "default", "app=web") == []
        with pytest.raises(ApiError, match="forbidden"):
            access.list_pods(user, "kube-public", "app=web")


def test_the_api_says_its_range_since_1_33_and_is_told_before(admin: Access) -> None:
    with ExitStack() as stack:
        user = open_api(ApiAccess(admin.url, admin.url, admin.ca_pem, USER), stack)
        if TELLS_ITS_RANGE:
            assert access.service_cidr(user, ClusterSpec(inventory="-")) == SERVICE_CIDR
            return
        with pytest.raises(UsageError, match=r"^the API does not say which range .*; write target\.cluster\.service"):
            access.service_cidr(user, ClusterSpec(inventory="-"))
        assert access.service_cidr(user, ClusterSpec(inventory="-", service_cidr="10.96.0.0/12")) == "10.96.0.0/12"


def by_certificate(admin: Access, folder: Path, certificate: bytes, key: bytes) -> ApiAccess:
    """Write a kubeconfig with a client certificate, and read it as a run does."""
    words = json.loads(json.dumps(kubeconfig(admin.url, "", admin.ca_pem)))
    data = {"client-certificate-data": certificate, "client-key-data": key}
    words["users"][0]["user"] = {name: base64.b64encode(pem).decode() for name, pem in data.items()}
    path = folder / "config"
    path.write_text(json.dumps(words))
    spec = ClusterSpec(inventory="-", kubeconfig=str(path))
    return access.first_access(access.credentials(spec), spec)


def test_a_user_known_by_a_certificate_has_the_same_rights(admin: Access, authority: Authority, tmp_path: Path) -> None:
    first = by_certificate(admin, tmp_path, *authority.certify(USER))
    assert first.token == ""
    with ExitStack() as stack:
        user = open_api(first, stack)
        assert access.has_namespace(user)
        with pytest.raises(ApiError, match=r'User \\?"ann\\?" cannot list resource \\?"pods\\?".* in the namespace'):
            access.list_pods(user, "kube-public", "app=web")
        own = access.own_access(
            user, first, lambda: nullcontext(user)
        )  # what the client node is given: a token, and no certificate
        assert (own.token != "", own.client_pem) == (True, "")
        assert open_api(own, stack).list(Kind.SERVICE, NAMESPACE) == []


def test_a_certificate_of_another_authority_is_refused(admin: Access, tmp_path: Path) -> None:
    with ExitStack() as stack, pytest.raises(ApiError, match="Unauthorized"):
        access.has_namespace(open_api(by_certificate(admin, tmp_path, *Authority().certify(USER)), stack))
