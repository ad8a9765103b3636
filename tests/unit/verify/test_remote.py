"""The scripts for the nodes: what they make of what they are told."""

import ast
import json
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from kubesmith.verify import nodes
from kubesmith.verify.remote import cluster, common, facts, paths, probe

SCRIPTS = sorted(Path(facts.__file__).parent.glob("*.py"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_script_is_python_3_9_of_the_standard_library(script):
    tree = ast.parse(script.read_text(), feature_version=(3, 9))
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    others = {name for name in imported if not name.startswith("kubesmith.verify.remote")}
    assert {name.partition(".")[0] for name in others} <= sys.stdlib_module_names


def test_question_and_scripts_fit_on_a_command_line():
    pods = {f"node-{number}": {"name": "probe-abcde", "uid": "0" * 36, "ip": "10.244.100.100"} for number in range(200)}
    assert len(nodes.package("paths", {"pods": pods})) < 128 * 1024


def test_sent_script_answers_with_json():
    command = [sys.executable, "-I", "-c", nodes.LOADER, nodes.package("facts", _question())]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd="/")
    answer = json.loads(done.stdout)
    assert answer["identity"]["hostname"] == socket.gethostname()
    assert answer["kubelet_healthz"] != "ok"
    assert "error" in answer["kubelet_version"]


def _question():
    return {"address": "127.0.0.1", "control_plane": False, "endpoint": "", "container": False}


def test_one_failing_fact_spoils_no_other():
    def broken():
        raise ValueError("no such thing")

    answers = common.together({"bad": broken, "good": lambda: 1})
    assert answers == {"bad": {"error": "ValueError: no such thing"}, "good": 1}


def test_failing_command_says_which_and_why():
    with pytest.raises(RuntimeError, match=r"^ls /no/such/folder: exit 2: .*No such file"):
        common.run("ls", "/no/such/folder")


def test_private_keys_do_not_travel(tmp_path):
    certificate = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----"
    key = "-----BEGIN PRIVATE KEY-----\nSECRET\n-----END PRIVATE KEY-----"
    both = tmp_path / "both.pem"
    both.write_text(f"{certificate}\n{key}\n")
    assert facts.certificates(str(both)) == certificate


def test_modes_name_owner_and_mode(tmp_path):
    file = tmp_path / "a.key"
    file.touch(mode=0o600)
    owner = file.stat()
    assert facts.modes((f"{tmp_path}/**/*.key",)) == {str(file): f"600 {owner.st_uid}:{owner.st_gid}"}


@pytest.mark.parametrize(
    ("line", "place"),
    [
        ('E1123 14:48:02.885403     274 file_linux.go:59] "Unable to read config path"', "file_linux.go:59"),
        ('I1123 14:48:02.885403     274 server.go:177] "Pod update broadcasted"', None),
        ("panic: runtime error", None),
    ],
)
def test_error_lines_are_recognised(line, place):
    found = facts.KLOG_ERROR.match(line)
    assert (found["place"] if found else None) == place


def test_a_leases_age_is_counted_in_seconds(monkeypatch):
    monkeypatch.setattr(cluster.time, "time", lambda: 1_795_442_405.0)
    assert cluster.age("2026-11-23T14:00:00.123456Z") == 5.0


# --- the probe


QUESTION = {
    "namespace": "ns",
    "holder": "here/1",
    "word": "w",
    "host_port": 20000,
    "nodes": ["cp1", "w1", "w2"],
    "workers": ["w1", "w2"],
}


def test_probe_runs_on_every_node_whatever_its_taints():
    daemon_set = next(item for item in probe.probe(QUESTION, "i:1") if item["kind"] == "DaemonSet")
    assert daemon_set["spec"]["template"]["spec"]["tolerations"] == [{"operator": "Exists"}]


@pytest.mark.parametrize(("workers", "replicas"), [([], 1), (["w1"], 1), (["w1", "w2"], 2), (list("abcde"), 3)])
def test_deployment_has_a_pod_for_each_worker_up_to_three(workers, replicas):
    deployment = probe.workload({**QUESTION, "workers": workers}, "i:1")[0]["spec"]
    assert deployment["replicas"] == replicas


@pytest.mark.parametrize(("workers", "hosts", "tolerated"), [(["w2"], ["w2"], 0), ([], ["cp1", "w1", "w2"], 1)])
def test_workload_keeps_to_nodes_whose_kubelet_runs(workers, hosts, tolerated):
    for item in probe.workload({**QUESTION, "workers": workers}, "i:1"):
        pod = item["spec"]["template"]["spec"]
        rule = pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        assert [term["matchFields"][0]["values"] for term in rule["nodeSelectorTerms"]] == [[host] for host in hosts]
        assert len(pod["tolerations"]) == tolerated


def test_objects_have_a_place_in_the_api():
    items = [*probe.probe(QUESTION, "i:1"), *probe.workload(QUESTION, "i:1")]
    places = {item["kind"]: probe.place_of(item) for item in items}
    assert places["Namespace"] == "/api/v1/namespaces"
    assert places["Service"] == "/api/v1/namespaces/ns/services"
    assert places["DaemonSet"] == "/apis/apps/v1/namespaces/ns/daemonsets"
    assert places["Job"] == "/apis/batch/v1/namespaces/ns/jobs"


def test_a_pod_that_waits_says_what_for():
    waiting = {"state": {"waiting": {"reason": "ErrImagePull", "message": "not found"}}}
    pod = {
        "metadata": {"name": "p", "uid": "u"},
        "spec": {"nodeName": "w1"},
        "status": {"phase": "Pending", "containerStatuses": [waiting]},
    }
    described = probe.describe(pod)
    assert described["ready"] is False
    assert described["state"] == "Pending; ErrImagePull not found"


# --- DNS and packets, against real sockets


@pytest.fixture(scope="module")
def dns_server():
    """A name server on a loopback address of its own that knows one name."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        server.bind(("127.1.2.3", 53))
    except PermissionError:
        pytest.skip("port 53 needs root")

    def answer():
        while True:
            try:
                query, client = server.recvfrom(512)
            except OSError:
                return
            known = b"\x04name\x03svc\x04test\x00" in query
            header = query[:2] + struct.pack(">HHHHH", 0x8180, 1, 2 * known, 0, 0)
            record = b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 5, 4)
            records = record + bytes([10, 0, 0, 2]) + record + bytes([10, 0, 0, 1]) if known else b""
            server.sendto(header + query[12:] + records, client)

    threading.Thread(target=answer, daemon=True).start()
    yield "127.1.2.3"
    server.close()


def test_short_name_is_found_by_the_search_list(dns_server):
    conf = f"nameserver {dns_server}\nsearch other.test svc.test\n"
    assert paths.resolve(conf, "name") == "10.0.0.1,10.0.0.2"
    assert paths.resolve(conf, "absent") == f"{dns_server} knows no absent"


def test_lost_lookups_are_counted_and_end_early(dns_server):
    conf = f"nameserver {dns_server}\nsearch svc.test\n"
    assert paths.many_lookups(conf, "name", 50)["lost"] == 0
    lost = paths.many_lookups(conf, "absent", 50)
    assert (lost["lost"], lost["asked"]) == (3, 3)


def test_silent_name_server_is_named():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.1.2.4", 0))
        assert paths.resolve("nameserver 127.1.2.4\nsearch svc.test\n", "name").startswith("127.1.2.4: ")
        assert paths.resolve("nameserver 127.1.2.4\n", "name").startswith("127.1.2.4: ")


def test_packet_larger_than_the_interface_is_refused():
    assert paths.echo("127.0.0.1", paths.mtu_of("lo") + 1) == "Message too long"


def test_full_packet_comes_back(monkeypatch):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        monkeypatch.setattr(paths, "UDP", server.getsockname()[1])

        def once():
            text, client = server.recvfrom(65535)
            server.sendto(text.removeprefix(b"echo "), client)

        threading.Thread(target=once, daemon=True).start()
        assert paths.echo("127.0.0.1", 1450) == "echoed"


def test_patience_ends_with_the_last_answer(monkeypatch):
    monkeypatch.setattr(paths, "PATIENCE", 0.3)
    assert paths.eventually(lambda: "wrong", {"right"}) == "wrong"
    answers = iter(["wrong", "right", "never asked"])
    assert paths.eventually(lambda: next(answers), {"right"}) == "right"


MIRRORED = """
server = "https://a"

[host."https://m:5000"]
  ca = "/c"
  [host."https://m:5000".header]
    "Authorization" = "Basic abc"
"""


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        (MIRRORED, ["https://m:5000"] * 2),
        ('server = "https://a"\n', ["https://a"]),
        ("", []),
    ],
)
def test_a_registry_with_mirrors_is_not_asked_itself(text, hosts):
    assert facts.registry_hosts(text) == hosts
