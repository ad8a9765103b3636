"""Serving certificates of kubelets: what may be approved, read from requests that a real library made."""

import base64
import ipaddress
from datetime import UTC, datetime, timedelta

import pytest
from ansible_collections.kubesmith.cluster.plugins.module_utils import approver, der
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

NODES = {"w1": ["192.0.2.11", "fd00::11"], "w2": ["192.0.2.12"]}
KEY = ec.generate_private_key(ec.SECP256R1())
PEM = serialization.Encoding.PEM


def name(common="system:node:w1", organization="system:nodes", **more):
    rows = [
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization),
        x509.NameAttribute(NameOID.COMMON_NAME, common),
    ]
    return x509.Name([*rows, *(x509.NameAttribute(getattr(NameOID, key), value) for key, value in more.items())])


def request(subject=None, dns=("w1",), addresses=("192.0.2.11",), others=()):
    names = [*(x509.DNSName(text) for text in dns), *(x509.IPAddress(ipaddress.ip_address(text)) for text in addresses)]
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject or name())
    if names or others:
        builder = builder.add_extension(x509.SubjectAlternativeName([*names, *others]), critical=False)
    return builder.sign(KEY, hashes.SHA256()).public_bytes(PEM).decode()


def item(pem, user="system:node:w1", groups=("system:nodes", "system:authenticated"), **more):
    usages = ["digital signature", "server auth"]
    spec = {"username": user, "groups": list(groups), "usages": usages, "signerName": approver.SIGNER}
    return {"metadata": {"name": "csr-1"}, "spec": spec | {"request": base64.b64encode(pem.encode()).decode()} | more}


@pytest.mark.parametrize("dns", [("w1",), ()])
@pytest.mark.parametrize("addresses", [("192.0.2.11",), ("192.0.2.11", "fd00::11")])
def test_a_node_may_name_itself(dns, addresses):
    assert approver.problem(item(request(dns=dns, addresses=addresses)), NODES) == ""


REFUSED = {
    "another's address": (item(request(addresses=("192.0.2.12",))), "192.0.2.12 is not of w1"),
    "an address more": (item(request(addresses=("192.0.2.11", "10.96.0.1"))), "10.96.0.1 is not of w1"),
    "another's name": (item(request(dns=("w2",))), "w2 is not of w1"),
    "the API server's name": (item(request(dns=("w1", "kubernetes.default.svc"))), "kubernetes.default.svc is not"),
    "a wildcard": (item(request(dns=("*",))), "* is not of w1"),
    "a mail address": (item(request(others=[x509.RFC822Name("a@b.c")])), "cannot be read: it asks for a name of kind"),
    "a URI": (item(request(others=[x509.UniformResourceIdentifier("spiffe://x")])), "cannot be read"),
    "another's subject": (item(request(name("system:node:w2"))), "its subject is not"),
    "masters": (item(request(name(organization="system:masters"))), "its subject is not"),
    "one organisation more": (item(request(name(COUNTRY_NAME="DE"))), "its subject is not"),
    "no node": (item(request(), user="system:serviceaccount:x:y"), "is not a node"),
    "a node without its group": (item(request(), groups=("system:authenticated",)), "is not a node"),
    "a stranger": (item(request(name("system:node:w9")), user="system:node:w9"), "'w9' is not a node of the inventory"),
    "nothing named": (item(request(dns=(), addresses=())), "it names nothing"),
    "a client's": (item(request(), usages=["digital signature", "client auth"]), "it asks for the usages"),
    "both": (item(request(), usages=["server auth", "client auth"]), "it asks for the usages"),
    "no request": (item("hello"), "cannot be read: it is no CERTIFICATE REQUEST"),
    "no base64": (item("") | {"spec": item("")["spec"] | {"request": "%%%"}}, "cannot be read"),
}


@pytest.mark.parametrize(("row", "why"), REFUSED.values(), ids=REFUSED)
def test_and_nothing_else(row, why):
    assert why in approver.problem(row, NODES)


def test_a_request_cut_at_any_place_is_refused():
    whole = base64.b64decode("".join(request().splitlines()[1:-1]))
    for end in range(len(whole)):
        text = base64.b64encode(whole[:end]).decode()
        pem = f"-----BEGIN CERTIFICATE REQUEST-----\n{text}\n-----END CERTIFICATE REQUEST-----"
        assert approver.problem(item(pem), NODES).startswith("it cannot be read"), end


class Server:
    """An API server that has some requests and notes what is decided."""

    def __init__(self, *items):
        self.items, self.put = items, []

    def get(self, _path):
        return {"items": list(self.items)}

    def request(self, _method, path, body):
        condition = body["status"]["conditions"][0]
        self.put.append((path.split("/")[-2], condition["type"], condition["message"]))


def test_only_what_waits_for_us_is_judged():
    judged = {**item(request()), "status": {"conditions": [{"type": "Approved"}]}}
    other = item(request(), signerName="kubernetes.io/kube-apiserver-client-kubelet")
    bad = item(request(dns=("w2",))) | {"metadata": {"name": "csr-2"}}
    server = Server(judged, other, item(request()), bad)
    approver.judge(server, NODES, only_look=True)
    assert server.put == []
    approver.judge(server, NODES)
    assert [row[:2] for row in server.put] == [("csr-1", "Approved"), ("csr-2", "Denied")]


@pytest.mark.parametrize("year", [1, 30, 9000])
def test_the_end_of_a_certificate_is_read(year):
    ends = datetime.now(UTC).replace(microsecond=0) + timedelta(days=min(365 * year, 2900000 - 1))
    made = x509.CertificateBuilder(issuer_name=name(), subject_name=name(), public_key=KEY.public_key())
    made = made.serial_number(7).not_valid_before(datetime.now(UTC) - timedelta(days=1)).not_valid_after(ends)
    assert der.ends(made.sign(KEY, hashes.SHA256()).public_bytes(PEM).decode()) == ends.timestamp()
