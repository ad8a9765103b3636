"""Secrets planted everywhere on a real cluster: none of them is in the packed evidence, which is else complete."""

import base64
import re
import tarfile

import pytest

API_VALUE = "planted-Secret/object+value-41"
ENV_VALUE = "planted-unit-environment-77"
FILE_VALUE = "cGxhbnRlZC1lbmNyeXB0aW9uLWtleS0x"
LOGIN_VALUE = "planted-registry-login-5"
TOKEN = "fa1c0n.0123456789abcdef"
PLANT = f"""
mkdir -p /etc/kubernetes/enc /etc/containerd/certs.d/planted.example /etc/systemd/system/kubelet.service.d
printf 'resources:\\n- providers:\\n  - aescbc:\\n      keys:\\n      - name: key1\\n        secret: %s\\n' \
  {FILE_VALUE} >/etc/kubernetes/enc/enc.yaml
printf '[host."https://planted.example".header]\\n  Authorization = "Basic %s"\\n' \
  $(printf 'robot:{LOGIN_VALUE}' | base64 -w0) >/etc/containerd/certs.d/planted.example/hosts.toml
printf '[Service]\\nEnvironment="REGISTRY_PASSWORD={ENV_VALUE}"\\n' \
  >/etc/systemd/system/kubelet.service.d/40-planted.conf
systemctl daemon-reload
logger -p user.err "a tool that tells too much: {FILE_VALUE} {LOGIN_VALUE} {ENV_VALUE} {TOKEN}"
logger -p user.err "api value here: {API_VALUE}"
logger -p user.err -f /var/lib/kubelet/pki/kubelet-client-current.pem
[ ! -f /etc/kubernetes/pki/sa.key ] || logger -p user.err -f /etc/kubernetes/pki/sa.key
[ ! -f /etc/kubernetes/admin.conf ] || logger -p user.err -f /etc/kubernetes/admin.conf
"""
CLEAN = """
rm -rf /etc/kubernetes/enc /etc/containerd/certs.d/planted.example
rm -f /etc/systemd/system/kubelet.service.d/40-planted.conf
systemctl daemon-reload
"""
OBJECTS = f"""
export KUBECONFIG=/etc/kubernetes/admin.conf
kubectl create secret generic planted --from-literal=value='{API_VALUE}'
kubectl -n kube-system create configmap planted --from-literal=note='the value is {API_VALUE}'
kubectl apply -f - <<END
apiVersion: v1
kind: Pod
metadata: {{name: planted, annotations: {{note: "{API_VALUE}"}}}}
spec:
  tolerations: [{{operator: Exists}}]
  containers:
  - name: main
    image: IMAGE
    command:
    - sh
    - -c
    - |
      echo plain \\$VALUE
      printf %s "\\$VALUE" | base64 -w0
      echo
      cat /var/run/secrets/kubernetes.io/serviceaccount/token
      sleep 3600
    env: [{{name: VALUE, valueFrom: {{secretKeyRef: {{name: planted, key: value}}}}}}]
END
kubectl wait --for=condition=Ready pod/planted --timeout=120s
"""


@pytest.fixture(scope="module")
def packed(lab, tmp_path_factory):
    """The members of what ``gather`` packed on a cluster with planted secrets, and the secrets' values."""
    code, said = lab.up()
    assert code == 0, said
    images = lab.on("w1", "ctr -n k8s.io images list -q | grep agnhost | head -1").strip()
    secrets = [API_VALUE, ENV_VALUE, FILE_VALUE, LOGIN_VALUE, TOKEN.partition(".")[2]]
    for value in (API_VALUE, LOGIN_VALUE, ENV_VALUE):
        secrets.append(base64.b64encode(value.encode()).decode().rstrip("=")[:-1])
    try:
        lab.on("cp1", OBJECTS.replace("IMAGE", images))
        for node in ("cp1", "w1"):
            lab.on(node, PLANT)
            secrets += lines(lab.on(node, "cat /var/lib/kubelet/pki/kubelet-client-current.pem | sed '1,/END CERT/d'"))
        secrets += lines(lab.on("cp1", "cat /etc/kubernetes/pki/*.key /etc/kubernetes/pki/etcd/*.key"))
        secrets += re.findall(r"client-key-data: (\S+)", lab.on("cp1", "cat /etc/kubernetes/*.conf"))
        target = tmp_path_factory.mktemp("packed") / "evidence.tar.gz"
        code, answer = lab.json("gather", "--output", str(target))
    finally:
        lab.on("cp1", "kubectl --kubeconfig /etc/kubernetes/admin.conf delete pod/planted secret/planted --now || true")
        lab.on("cp1", "kubectl --kubeconfig /etc/kubernetes/admin.conf -n kube-system delete cm planted || true")
        for node in ("cp1", "w1"):
            lab.on(node, CLEAN)
    assert code == 0, answer
    assert target.stat().st_mode & 0o777 == 0o600
    with tarfile.open(target) as tar:
        return {m.name.partition("/")[2]: tar.extractfile(m).read().decode() for m in tar.getmembers()}, secrets


def lines(pem):
    """Return the lines of keys that no two keys share: the first holds the algorithm, the last is short."""
    rows = [line.strip() for line in pem.splitlines()]
    return [line for line in rows if len(line) >= 48 and not line.startswith("-----") and line.count("A") < 20]


def test_no_planted_secret_is_in_the_file(packed):
    members, secrets = packed
    assert len(secrets) > 20
    assert [(name, secret) for name, text in members.items() for secret in secrets if secret in text] == []


def test_where_they_were_is_in_the_file(packed):
    members, _log = packed
    for node in ("cp1", "w1"):
        assert "a tool that tells too much: <redacted>" in members[f"nodes/{node}/journal/system.log"]
        assert "REGISTRY_PASSWORD=<redacted>" in members[f"nodes/{node}/system/units.txt"]
    log = next(text for name, text in members.items() if "/pods/default_planted/" in name)
    assert "plain <redacted>" in log
    assert "the value is <redacted>" in members["cluster/configmaps.yaml"]


def test_the_rest_is_complete(packed):
    members, _log = packed
    wanted = ["journal/kubelet.log", "journal/containerd.log", "system/ports.txt", "system/disks.txt", "facts.json"]
    assert [
        f"{node}/{name}" for node in ("cp1", "w1") for name in wanted if f"nodes/{node}/{name}" not in members
    ] == []
    for name in ("overview.txt", "objects.yaml", "events.txt", "configmaps.yaml", "describe-nodes.txt"):
        assert members[f"cluster/{name}"], name
    assert any(name.startswith("runs/") for name in members)
