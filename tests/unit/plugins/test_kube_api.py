"""The client of the Kubernetes API, and the modules on it, against a server that keeps objects as the real one does."""

import base64
import datetime
import http.server
import json
import re
import ssl
import subprocess
import threading
import urllib.parse

import pytest
from ansible_collections.kubesmith.cluster.plugins.module_utils import kube_api
from ansible_collections.kubesmith.cluster.plugins.module_utils.pins import pin
from ansible_collections.kubesmith.cluster.plugins.modules import kube_apply, kube_nodes, kube_wait, kubeadm_token

RESOURCES = {
    "/api/v1": [
        {"kind": "ConfigMap", "name": "configmaps", "namespaced": True},
        {"kind": "Namespace", "name": "namespaces", "namespaced": False},
        {"kind": "Namespace", "name": "namespaces/status", "namespaced": False},
    ],
    "/apis/example.org/v1": [{"kind": "Thing", "name": "things", "namespaced": False}],
}


class Server(http.server.ThreadingHTTPServer):
    """Keeps objects by path; an unchanged apply leaves the resourceVersion alone."""

    def __init__(self, certificate):
        super().__init__(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        context.load_verify_locations(certificate)
        context.verify_mode = ssl.CERT_REQUIRED
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self.objects, self.log, self.conflicts = {}, [], 0


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def answer(self, status, body):
        content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def missing(self):
        self.answer(404, {"kind": "Status", "message": f"{self.path} not found"})

    def do_GET(self):
        self.server.log.append(("GET", self.path))
        path = self.path.partition("?")[0]
        if path == "/readyz":
            self.answer(200, "ok")
        elif path in RESOURCES:
            self.answer(200, {"kind": "APIResourceList", "resources": RESOURCES[path]})
        elif path in self.server.objects:
            self.answer(200, self.server.objects[path])
        else:
            self.missing()

    def do_POST(self):
        wanted = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.log.append(("POST", wanted))
        self.answer(201, wanted)

    def do_DELETE(self):
        self.server.log.append(("DELETE", self.path))
        self.answer(200, {})

    def do_PATCH(self):
        wanted = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        path, _, query = self.path.partition("?")
        self.server.log.append(("PATCH", path, self.headers["Content-Type"]))
        if self.server.conflicts:
            self.server.conflicts -= 1
            return self.answer(409, {"message": "the object has been modified"})
        before = self.server.objects.get(path)
        kept = {**(before or {}), **wanted, "metadata": {**(before or {}).get("metadata", {}), **wanted["metadata"]}}
        if kept != before:
            kept["metadata"]["resourceVersion"] = str(len(self.server.log))
        if "dryRun" not in urllib.parse.parse_qs(query):
            self.server.objects[path] = kept
        return self.answer(200, kept)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A self-signed certificate that serves as CA, server's and client's."""
    path = tmp_path_factory.mktemp("tls")
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "keyUsage=critical,digitalSignature,keyCertSign"]
    files = ["-keyout", path / "key", "-out", path / "cert"]
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    subprocess.run([*command, "-subj", "/CN=kube", *names, *files], check=True, capture_output=True)
    both = path / "both"
    both.write_text((path / "cert").read_text() + (path / "key").read_text())
    return both


@pytest.fixture
def server(certificate):
    running = Server(certificate)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield running
    running.shutdown()
    running.server_close()


@pytest.fixture
def kubeconfig(server, certificate, tmp_path):
    cert, _, key = certificate.read_text().partition("-----BEGIN PRIVATE")
    data = {"certificate-authority": cert, "client-certificate": cert, "client-key": "-----BEGIN PRIVATE" + key}
    lines = [f"    {name}-data: {base64.b64encode(text.encode()).decode()}" for name, text in data.items()]
    path = tmp_path / "admin.conf"
    path.write_text("\n".join([f"    server: https://127.0.0.1:{server.server_port}", *lines]) + "\n")
    return path


@pytest.fixture
def api(kubeconfig):
    return kube_api.Api(str(kubeconfig), timeout=5)


def config(name="a", **data):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "x"}, "data": data}


def test_text_and_objects_are_answered(api, server):
    server.objects["/api/v1/namespaces/x"] = {"kind": "Namespace"}
    assert api.get("/readyz") == "ok"
    assert api.get("/api/v1/namespaces/x") == {"kind": "Namespace"}
    assert api.find("/api/v1/namespaces/y") is None


def test_an_error_carries_the_servers_words(api):
    with pytest.raises(kube_api.ApiError, match="/nowhere not found") as error:
        api.get("/nowhere")
    assert error.value.status == 404


def test_no_kubeconfig_and_no_server_have_status_0(tmp_path, kubeconfig):
    with pytest.raises(kube_api.ApiError) as error:
        kube_api.Api(str(tmp_path / "none"))
    assert error.value.status == 0
    kubeconfig.write_text(kubeconfig.read_text().replace("https://127.0.0.1:", "https://127.0.0.1:1#"))
    with pytest.raises(kube_api.ApiError, match="does not answer") as error:
        kube_api.Api(str(kubeconfig), timeout=2).get("/readyz")
    assert error.value.status == 0


def test_another_ca_is_not_trusted(kubeconfig, tmp_path):
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-subj",
        "/CN=x",
    ]
    other = subprocess.run([*command, "-keyout", tmp_path / "k"], check=True, capture_output=True).stdout
    lines = kubeconfig.read_text().splitlines()
    lines[1] = f"    certificate-authority-data: {base64.b64encode(other).decode()}"
    kubeconfig.write_text("\n".join(lines) + "\n")
    with pytest.raises(kube_api.ApiError, match=r"(?i)certificate"):
        kube_api.Api(str(kubeconfig), timeout=2).get("/readyz")


def test_the_key_stays_in_no_file(kubeconfig, tmp_path, monkeypatch):
    monkeypatch.setattr(kube_api.os, "access", lambda path, mode: False)
    monkeypatch.setattr(kube_api.tempfile, "tempdir", str(tmp_path / "keys"))
    (tmp_path / "keys").mkdir()
    kube_api.Api(str(kubeconfig))
    assert list((tmp_path / "keys").iterdir()) == []


def test_paths_come_from_what_the_server_serves(api, server):
    paths = kube_api.Paths(api)
    assert paths.of(config()) == "/api/v1/namespaces/x/configmaps/a"
    assert paths.of({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "x"}}) == "/api/v1/namespaces/x"
    thing = {"apiVersion": "example.org/v1", "kind": "Thing", "metadata": {"name": "t"}}
    assert paths.of(thing) == "/apis/example.org/v1/things/t"
    assert [entry for entry in server.log if entry == ("GET", "/api/v1")] == [("GET", "/api/v1")]
    with pytest.raises(kube_api.ApiError, match=r"knows no Nothing of example.org/v1"):
        paths.of({**thing, "kind": "Nothing"})


class TestApply:
    def apply(self, api, *objects, check=False):
        return kube_apply.work(api, objects, "kubesmith", check)

    def test_once_and_then_nothing_more(self, api, server):
        assert self.apply(api, config(one="1"))["applied"] == ["ConfigMap x/a"]
        assert server.objects["/api/v1/namespaces/x/configmaps/a"]["data"] == {"one": "1"}
        assert self.apply(api, config(one="1"))["changed"] is False

    def test_only_what_differs_is_named_and_shown(self, api):
        self.apply(api, config("a", one="1"), config("b", one="1"))
        answer = self.apply(api, config("a", one="1"), config("b", one="2"))
        assert answer["applied"] == ["ConfigMap x/b"]
        assert '"one": "1"' in answer["diff"][0]["before"]
        assert '"one": "2"' in answer["diff"][0]["after"]
        assert "resourceVersion" not in answer["diff"][0]["after"]

    def test_check_mode_asks_and_changes_nothing(self, api, server):
        assert self.apply(api, config(one="1"), check=True)["changed"] is True
        assert server.objects == {}

    def test_a_kind_that_is_only_about_to_exist_does_not_stop_check_mode(self, api):
        new = {"apiVersion": "new.org/v1", "kind": "New", "metadata": {"name": "n"}}
        assert self.apply(api, new, check=True)["applied"] == ["New n"]
        with pytest.raises(kube_api.ApiError, match=r"New n: the API server knows no New"):
            self.apply(api, new)


def node(**more):
    return {"metadata": {"name": "w1", "labels": {"a": "1"}, "resourceVersion": "7"}, "spec": more}


class TestNodes:
    @pytest.fixture(autouse=True)
    def nodes(self, server):
        server.objects["/api/v1/nodes"] = {"items": [node()]}
        server.objects["/api/v1/nodes/w1"] = node(taints=[{"key": "old", "effect": "NoSchedule"}])

    def test_labels_and_taints_are_added_once(self, api, server):
        wanted = {"w1": {"labels": {"a": "1", "b": "2"}, "taints": ["t=v:NoExecute"]}}
        assert kube_nodes.work(api, wanted, 1, False)["actions"] == ["label w1 b=2", "taint w1 t=v:NoExecute"]
        kept = server.objects["/api/v1/nodes/w1"]["spec"]["taints"]
        assert [taint["key"] for taint in kept] == ["old", "t"]

    def test_a_conflict_is_tried_again(self, api, server):
        server.conflicts = 2
        assert kube_nodes.work(api, {"w1": {"taints": ["t:NoExecute"]}}, 1, False)["changed"] is True
        assert len([entry for entry in server.log if entry[0] == "PATCH"]) == 3

    def test_check_mode_changes_nothing(self, api, server):
        answer = kube_nodes.work(api, {"w1": {"labels": {"b": "2"}}, "new": {}}, 1, True)
        assert answer["actions"] == ["label w1 b=2"]
        assert [entry for entry in server.log if entry[0] == "PATCH"] == []

    def test_a_node_that_never_comes_is_named(self, api):
        with pytest.raises(kube_api.ApiError, match="no node w9; it has w1"):
            kube_nodes.work(api, {"w9": {}}, 0, False)


class TestWait:
    @pytest.fixture
    def cluster(self, api, server):
        pod = {
            "metadata": {"name": "dns", "namespace": "kube-system"},
            "spec": {"nodeName": "w1"},
            "status": {
                "phase": "Running",
                "conditions": [{"type": "Ready", "status": "False"}],
                "containerStatuses": [{"name": "dns", "state": {"running": {}}, "ready": False}],
            },
        }
        ready = {"type": "Ready", "status": "True"}
        items = {
            "/api/v1/nodes": ("NodeList", [{"metadata": {"name": "w1"}, "status": {"conditions": [ready]}}]),
            "/api/v1/namespaces/kube-system/pods": ("PodList", [pod]),
            "/apis/apps/v1/namespaces/kube-system/daemonsets": ("DaemonSetList", []),
            "/apis/apps/v1/namespaces/kube-system/deployments": ("DeploymentList", []),
        }
        for path, (kind, rows) in items.items():
            server.objects[path] = {"kind": kind, "apiVersion": "v1", "items": rows}
        watch = kube_wait.Cluster(["w1"], ["kube-system"])
        watch._api = api
        return watch

    def test_what_is_not_ready_and_what_the_cluster_says_of_it(self, cluster, server):
        base = "/api/v1/namespaces/kube-system"
        server.objects[f"{base}/events"] = {"items": [{"reason": "Unhealthy", "message": "probe failed"}]}
        server.objects[f"{base}/pods/dns/log"] = "plugin/loop: loop detected"
        assert cluster.unready() == ["kube-system/dns: Running on w1: dns runs but is not ready"]
        said = cluster.evidence()
        assert "Unhealthy: probe failed" in said
        assert "log of dns:\nplugin/loop: loop detected" in said.replace("'", "")

    def test_a_server_that_is_away_is_a_reason_not_a_crash(self, cluster, server):
        del server.objects["/api/v1/nodes"]
        assert cluster.unready() == ["/api/v1/nodes not found"]


class TestToken:
    def test_a_token_is_random_short_lived_and_comes_with_the_pin_of_the_ca(
        self, api, server, certificate, monkeypatch
    ):
        monkeypatch.setattr(kubeadm_token, "CA", str(certificate))
        one, two = (kubeadm_token.make(api, 15, "ours") for _ in range(2))
        assert re.fullmatch(r"[a-z0-9]{6}\.[a-z0-9]{16}", one["token"])
        assert one["token"] != two["token"]
        assert one["endpoint"] == f"127.0.0.1:{server.server_port}"
        assert one["ca_cert_hashes"] == [openssl_pin(certificate)]
        secret = server.log[0][1]
        assert secret["metadata"]["name"] == f"bootstrap-token-{one['token'][:6]}"
        expires = datetime.datetime.fromisoformat(secret["stringData"]["expiration"])
        left = expires - datetime.datetime.now(datetime.UTC)
        assert datetime.timedelta(minutes=14) < left <= datetime.timedelta(minutes=15)

    def test_only_tokens_of_ours_are_revoked(self, api, server):
        rows = [("bootstrap-token-a", "ours"), ("bootstrap-token-b", "theirs"), ("bootstrap-token-c", None)]
        items = [
            {
                "metadata": {"name": name},
                "data": {"description": base64.b64encode(text.encode()).decode()} if text else {},
            }
            for name, text in rows
        ]
        server.objects[kubeadm_token.FOLDER] = {"items": items}
        assert kubeadm_token.revoke(api, "ours", True) == {"changed": True, "revoked": 1}
        assert [entry for entry in server.log if entry[0] == "DELETE"] == []
        kubeadm_token.revoke(api, "ours", False)
        assert [entry for entry in server.log if entry[0] == "DELETE"] == [
            ("DELETE", f"{kubeadm_token.FOLDER}/bootstrap-token-a")
        ]


def openssl_pin(certificate):
    """Return the pin as kubeadm's documentation has it made."""
    command = (
        f"openssl x509 -pubkey -noout -in {certificate} | openssl pkey -pubin -outform der | openssl dgst -sha256 -hex"
    )
    return (
        "sha256:" + subprocess.run(["sh", "-c", command], check=True, capture_output=True, text=True).stdout.split()[-1]
    )


@pytest.mark.parametrize("kind", ["rsa:2048", "ec"])
@pytest.mark.parametrize("days", [30, 36500])
def test_pins_of_all_kinds_of_keys_are_those_of_openssl(tmp_path, kind, days):
    options = ["-pkeyopt", "ec_paramgen_curve:P-384"] if kind == "ec" else []
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        kind,
        *options,
        "-nodes",
        "-subj",
        "/CN=kubernetes",
        "-days",
        str(days),
    ]
    subprocess.run([*command, "-keyout", tmp_path / "k", "-out", tmp_path / "c"], check=True, capture_output=True)
    assert pin((tmp_path / "c").read_text()) == openssl_pin(tmp_path / "c")


@pytest.mark.parametrize("text", ["", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_what_is_no_certificate_has_no_pin(text):
    with pytest.raises(ValueError):
        pin(text)
