"""The benchmark's controls: the data is whole, each evaluator tells right from wrong, and says what it saw."""

import json
from dataclasses import replace
from xml.etree import ElementTree as Xml

import pytest
import yaml
from rich.console import Console

from kubesmith.cis import evaluate
from kubesmith.cis.evaluate import Control, Node
from kubesmith.commands import cis

STATE = {"programs": {}, "files": {}, "texts": {}, "providers": [], "listening": {}}
CLUSTER = {
    "error": "",
    "kubelets": {},
    "roles": [],
    "bindings": [],
    "namespaces": {},
    "policies": [],
    "accounts": {},
    "pods": [],
}


def node(name="cp1", control_plane=True, kubelet=None, cluster=None, **state):
    return Node(name, control_plane, STATE | state, kubelet, CLUSTER | (cluster or {}))


def judged(number, *nodes):
    """Return the status of a control and what was seen."""
    wanted = [control for control in evaluate.controls() if control.id == number]
    (row,) = evaluate.evaluate(nodes, wanted)
    return row.status, "; ".join(finding.evidence for finding in row.findings)


def server(*words):
    return {"kube-apiserver": ["kube-apiserver", *words]}


def test_all_131_controls_are_there_65_of_them_automated():
    numbers = [control.id for control in evaluate.controls()]
    assert (len(numbers), len(set(numbers))) == (131, 131)
    assert sum(not control.manual for control in evaluate.controls()) == 65
    assert numbers.index("1.2.9") < numbers.index("1.2.10")


@pytest.mark.parametrize("control", evaluate.controls(), ids=lambda control: control.id)
def test_every_control_can_be_judged(control):
    assert control.where in evaluate.PLACES
    assert control.check or control.manual, "an automated control without a check could not fail"
    (row,) = evaluate.evaluate([node(kubelet={}), node("w1", control_plane=False, kubelet={})], [control])
    assert row.findings
    assert all(finding.evidence for finding in row.findings)


@pytest.mark.parametrize(
    ("number", "words", "status", "seen"),
    [
        ("1.2.15", ["--profiling=false"], "pass", "kube-apiserver --profiling=false"),
        ("1.2.15", ["--profiling=true"], "fail", "kube-apiserver --profiling=true"),
        ("1.2.15", [], "fail", "kube-apiserver --profiling is not set"),
        ("1.2.15", ["--profiling=false", "--profiling=true"], "fail", "kube-apiserver --profiling=true"),
        ("1.2.17", ["--audit-log-maxage=29"], "fail", "--audit-log-maxage=29"),
        ("1.2.17", ["--audit-log-maxage", "30"], "pass", "--audit-log-maxage=30"),
        ("1.2.2", [], "pass", "is not set"),
        ("1.2.2", ["--token-auth-file=/a"], "fail", "--token-auth-file=/a"),
        ("1.2.6", [], "fail", "is not set"),
        ("1.2.6", ["--authorization-mode=Node,RBAC"], "pass", "Node,RBAC"),
        ("1.2.6", ["--authorization-mode=AlwaysAllow,RBAC"], "fail", "AlwaysAllow"),
        ("1.2.7", ["--authorization-mode=RBAC"], "fail", "RBAC"),
        ("1.2.12", [], "pass", "is not set"),
        ("1.2.12", ["--disable-admission-plugins=ServiceAccount,X"], "fail", "ServiceAccount"),
        ("1.2.21", [], "pass", "is not set"),
        ("1.2.23", ["--etcd-certfile=/a"], "fail", "--etcd-keyfile is not set"),
        ("1.2.29", ["--tls-cipher-suites=TLS_AES_128_GCM_SHA256"], "pass", "TLS_AES_128_GCM_SHA256"),
        ("1.2.29", ["--tls-cipher-suites=TLS_AES_128_GCM_SHA256,TLS_RSA_WITH_RC4_128_SHA"], "manual", "RC4"),
        ("1.2.29", [], "manual", "is not set"),
    ],
)
def test_arguments(number, words, status, seen):
    found, evidence = judged(number, node(programs=server(*words)))
    assert found == status
    assert seen in evidence


def test_a_program_that_does_not_run_fails():
    assert judged("1.2.15", node()) == ("fail", "kube-apiserver does not run")


def test_etcd_elsewhere_is_not_applicable():
    assert judged("2.1", node()) == ("na", "no etcd runs on this node")


@pytest.mark.parametrize(("mode", "status"), [("600", "pass"), ("400", "pass"), ("640", "fail"), ("4600", "fail")])
def test_modes(mode, status):
    path = "/var/lib/kubelet/config.yaml"
    found = judged("4.1.9", node(files={path: [mode, "root:root"], "/etc/other": ["777", "a:b"]}))
    assert found == (status, f"{path} {mode}")


def test_a_file_that_is_not_there_is_not_applicable():
    assert judged("4.1.3", node())[0] == "na"


def test_owners():
    files = {"/var/lib/etcd": ["700", "root:root"]}
    assert judged("1.1.12", node(programs={"etcd": ["etcd"]}, files=files)) == ("fail", "/var/lib/etcd root:root")


def test_the_worst_node_decides_and_is_named():
    right, wrong = ({"authentication": {"anonymous": {"enabled": value}}} for value in (False, True))
    nodes = [node(kubelet=right), node("w1", control_plane=False, kubelet=wrong)]
    wanted = [control for control in evaluate.controls() if control.id == "4.2.1"]
    (row,) = evaluate.evaluate(nodes, wanted)
    assert row.status == "fail"
    assert cis.seen(row) == "w1: kubelet authentication.anonymous.enabled = true"


def test_a_kubelet_that_cannot_be_asked_fails():
    assert judged("4.2.1", node())[0] == "fail"


def test_anonymous_access_to_a_few_paths_is_told():
    rule = {"anonymous": {"enabled": True, "conditions": [{"path": "/livez"}]}}
    text = yaml.safe_dump(rule)
    told = judged("1.2.1", node(programs=server(), texts={"--authentication-config": text}))
    assert told[0] == "manual"
    assert "anonymous only at /livez" in told[1]
    off = yaml.safe_dump({"anonymous": {"enabled": False}})
    assert judged("1.2.1", node(programs=server(), texts={"--authentication-config": off}))[0] == "pass"


@pytest.mark.parametrize(
    ("providers", "status"),
    [([], "manual"), (["identity", "secretbox"], "manual"), (["secretbox", "identity"], "pass")],
)
def test_encryption(providers, status):
    assert judged("1.2.28", node(providers=providers))[0] == status


def policy(*rules):
    return node(texts={"--audit-policy-file": yaml.safe_dump({"rules": list(rules)})})


def test_audit_policies():
    assert judged("3.2.2", policy({"level": "Metadata"}))[0] == "pass"
    nothing = policy({"level": "None", "resources": [{"group": "", "resources": ["secrets"]}]}, {"level": "Metadata"})
    assert "nothing is written of reading secrets" in judged("3.2.2", nothing)[1]
    assert "the content of secrets, configmaps is written" in judged("3.2.2", policy({"level": "Request"}))[1]
    # A rule for one user says nothing of the others.
    assert judged("3.2.2", policy({"level": "None", "users": ["a"]}, {"level": "Metadata"}))[0] == "pass"


def test_rights_beyond_the_systems_own_are_named():
    roles = [{"name": "r", "rules": [{"verbs": ["*"], "resources": ["secrets"], "apiGroups": [""]}]}]
    bindings = [
        {"name": "system:x", "role": "r", "subjects": ["Group a"]},
        {"name": "mine", "role": "r", "subjects": ["User eve"]},
    ]
    status, seen = judged("5.1.2", node(cluster={"roles": roles, "bindings": bindings}))
    assert (status, seen) == ("manual", "mine → User eve")
    assert judged("5.1.2", node(cluster={"roles": roles, "bindings": bindings[:1]}))[0] == "pass"
    assert judged("5.1.3", node(cluster={"roles": roles}))[0] == "manual"


def test_pods_outside_kube_system_are_named():
    pods = [{"name": "kube-system/a", "does": ["privileged"]}, {"name": "default/b", "does": ["privileged"]}]
    assert judged("5.2.2", node(cluster={"pods": pods})) == ("manual", "default/b; 1 in kube-system")
    assert judged("5.2.2", node(cluster={"pods": pods[:1]}))[0] == "pass"


def test_an_api_server_that_does_not_answer_leaves_the_policies_to_a_person():
    status, seen = judged("5.2.2", replace(node(), cluster={"error": "refused"}))
    assert (status, seen) == ("manual", "the API server could not be asked: refused")


def rows():
    wanted = [
        Control("1.1.1", "a < b", "cluster", {"named": "default_namespace"}),
        Control("1.1.2", "c", "cluster", manual=True, exception="we want it so"),
        Control("1.1.3", "d", "cluster", na="not here"),
        Control("1.1.4", "e", "control-plane", {"flag": {"of": "etcd", "name": "x", "set": True}}),
    ]
    return evaluate.evaluate([node()], wanted)


def test_junit(tmp_path):
    file = tmp_path / "cis.xml"
    cis.write_junit(rows(), file)
    suite = Xml.fromstring(file.read_text())
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("4", "1", "2")
    assert [case.get("name") for case in suite.iter("testcase") if case.find("failure") is not None] == ["e"]
    assert [part.get("message") for part in suite.iter("skipped")] == ["manual: we want it so", "n/a: not here"]
    assert list(tmp_path.iterdir()) == [file]


def test_data():
    data = cis.as_data("lab", rows(), ok=False)
    assert data["counts"] == {"pass": 1, "fail": 1, "manual": 1, "na": 1}
    assert json.loads(json.dumps(data))["controls"][1]["exception"] == "we want it so"


def test_table():
    console = Console(width=200, record=True)
    console.print(cis.table(rows()))
    text = console.export_text()
    assert "1.1.4" in text
    assert "cp1: etcd does not run" in text
