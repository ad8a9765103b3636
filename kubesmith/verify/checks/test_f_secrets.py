"""F: are keys and certificates where they belong, and nowhere else?"""

import base64
from datetime import UTC, datetime

from kubesmith.verify import certificates

PKI = "/etc/kubernetes/pki"
SECRET, PUBLIC = "600 0:0", "644 0:0"


def _with_other_mode(facts, wanted, *endings, folder="/etc/kubernetes"):
    files = {path: mode for path, mode in facts["modes"].items() if path.startswith(folder) and path.endswith(endings)}
    assert files != {}
    return {path: mode for path, mode in files.items() if mode != wanted}


def test_keys_are_roots(control_plane, facts):
    """F1: only root reads the control plane's keys"""
    assert _with_other_mode(facts, SECRET, ".key", folder=PKI) == {}


def test_certificates_are_readable(control_plane, facts):
    """F1: certificates are readable, and only root writes them"""
    assert _with_other_mode(facts, PUBLIC, ".crt", folder=PKI) == {}


def test_kubeconfigs_are_roots(control_plane, facts):
    """F2: only root reads the kubeconfigs"""
    assert _with_other_mode(facts, SECRET, ".conf") == {}


def test_manifests_are_roots(control_plane, facts):
    """F3: only root reads the static pods' manifests and etcd's data"""
    assert _with_other_mode(facts, SECRET, ".yaml") == {}
    mode, owner = facts["modes"]["/var/lib/etcd"].split()
    assert mode == "700"
    assert (owner == "0:0") is (control_plane.variables.get("kubeadm_master_profile") != "cis")


def test_certificates_live_on(control_plane, facts):
    """F4: certificates are valid for a month or more, CAs for a year or more"""
    left = {path: certificates.days_left(certificates.parse(pem)) for path, pem in facts["pki"].items()}
    assert left != {}
    assert {path: days for path, days in left.items() if days <= (365 if path.endswith("ca.crt") else 30)} == {}


def test_api_server_has_a_certificate_for_all_its_names(control_plane, facts, cluster):
    """F5: the API server's certificate is the CA's, and for every name and address that it is called by"""
    certificate = certificates.parse(facts["pki"][f"{PKI}/apiserver.crt"])
    assert certificates.signed_by(certificate, certificates.parse(facts["ca"])) is True
    endpoint = cluster.endpoint.rpartition(":")[0]
    domain = control_plane.variables.get("kubeadm_master_dns_domain", "cluster.local")
    wanted = {
        control_plane.address,
        cluster.api_service_address,
        "kubernetes.default.svc",
        f"kubernetes.default.svc.{domain}",
    }
    wanted |= {endpoint} - {""}
    assert sorted(wanted - certificates.names(certificate)) == []


def test_etcd_has_a_ca_of_its_own(control_plane, facts):
    """F6: etcd does not trust the cluster's CA"""
    etcd, cluster = (certificates.parse(facts["pki"][f"{PKI}/{name}"]) for name in ("etcd/ca.crt", "ca.crt"))
    assert certificates.fingerprint(etcd) != certificates.fingerprint(cluster)


def test_worker_holds_no_authority(worker, facts):
    """F7: a worker holds no CA key and no administrator's kubeconfig"""
    assert facts["authority_secrets"] == []


def test_nothing_is_left_of_a_dry_run(control_plane, facts):
    """F8: no keys of a dry run, and no repository, lie about"""
    assert facts["dry_run_leftovers"] == []


def test_all_nodes_trust_the_same_ca(node, facts, cluster):
    """F9: the node's CA is the cluster's CA"""
    wanted = certificates.parse(cluster.facts(cluster.api.name)["ca"])
    assert certificates.fingerprint(certificates.parse(facts["ca"])) == certificates.fingerprint(wanted)


def test_join_tokens_expire(cluster):
    """F10: every join token ends, and none is a well-known one"""
    tokens = cluster.objects["tokens"]
    assert [token["id"] for token in tokens if token["id"] == "123456" or not _expires(token)] == []


def _expires(token):
    try:
        end = datetime.fromisoformat(base64.b64decode(token["expires"]).decode().replace("Z", "+00:00"))
    except ValueError:
        return False
    return (end - datetime.now(UTC)).total_seconds() < 48 * 3600


def test_api_server_refuses_strangers(control_plane, facts):
    """J7: without credentials the API server gives no secrets away"""
    assert facts["api_anonymous"] in (401, 403)
