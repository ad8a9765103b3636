"""What the checks build on: inventories, leftovers, certificates, verdicts."""

import os
import socket
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from kubesmith.verify import certificates, verdict
from kubesmith.verify.expected import shortened
from kubesmith.verify.nodes import plain
from kubesmith.verify.state import Facts, is_leftover


def test_wrapped_strings_of_an_inventory_become_plain():
    wrapped = {"a": {"__ansible_unsafe": "x"}, "b": [{"__ansible_unsafe": "y"}, 1], "c": {"d": True}}
    assert plain(wrapped) == {"a": "x", "b": ["y", 1], "c": {"d": True}}


def test_a_fact_that_could_not_be_gathered_fails_its_check():
    gathered = Facts({"good": 1, "bad": {"error": "RuntimeError: no kubelet"}})
    assert gathered["good"] == 1
    with pytest.raises(AssertionError, match="bad: RuntimeError: no kubelet"):
        gathered["bad"]


def _probe(holder, age):
    created = datetime.now(UTC) - timedelta(seconds=age)
    return {"name": "n", "holder": holder, "created": created.strftime("%Y-%m-%dT%H:%M:%SZ")}


@pytest.mark.parametrize(
    ("holder", "age", "leftover"),
    [
        (f"{socket.gethostname()}/{os.getpid()}", 5, False),  # a run beside this one
        (f"{socket.gethostname()}/4194999", 5, True),  # above the kernel's largest process number
        ("elsewhere/1", 5, False),
        ("elsewhere/1", 3600, True),
        ("", 3600, True),
    ],
)
def test_only_dead_runs_leave_leftovers(holder, age, leftover):
    assert is_leftover(_probe(holder, age)) is leftover


@pytest.mark.parametrize(
    ("version", "like", "short"),
    [("v1.37.2", "1.37", "1.37"), ("v1.37.2", "1.37.2", "1.37.2"), ("v1.37.2", "1.3", "1.37")],
)
def test_versions_are_compared_by_their_parts(version, like, short):
    assert shortened(version, like) == short


def _certificate(name, *, issuer=None, days=90, sans=()):
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    issuer_name, issuer_key = (issuer[0].subject, issuer[1]) if issuer else (subject, key)
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer_name).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=days, hours=1))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(n) for n in sans]), critical=False)
    return builder.sign(issuer_key, hashes.SHA256()), key


def test_certificates_tell_authority_names_and_time():
    authority = _certificate("ca")
    stranger = _certificate("ca")
    made, _ = _certificate("system:node:w1", issuer=authority, days=30, sans=["w1"])
    read = certificates.parse(made.public_bytes(serialization.Encoding.PEM).decode())
    assert certificates.common_name(read) == "system:node:w1"
    assert certificates.organization(read) == ""
    assert certificates.days_left(read) == 30
    assert certificates.names(read) == {"w1"}
    assert certificates.signed_by(read, authority[0])
    assert not certificates.signed_by(read, stranger[0])


def test_verdict_of_nothing_is_no_pass():
    assert not verdict.of([]).ok
    passed = verdict.Check("A1", "s", "w1", "w1", "passed")
    assert verdict.of([passed]).ok
    assert not verdict.of([passed, verdict.Check("A1", "s", "w2", "w2", "failed")]).ok
