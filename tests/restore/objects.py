"""What a cluster holds: made, told, and compared after a restore."""

import json
import subprocess

NAMESPACE = "drill"
KINDS = (
    "namespaces,deployments,replicasets,daemonsets,configmaps,secrets,services,serviceaccounts,clusterroles,"
    "customresourcedefinitions,ippools.crd.projectcalico.org"
)
MADE = """\
apiVersion: v1
kind: Namespace
metadata: {name: drill}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: kept, namespace: drill}
data: {word: before the backup}
---
apiVersion: v1
kind: Secret
metadata: {name: kept, namespace: drill}
stringData: {word: kept-secret-word}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: drill}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: web, image: "kubesmith.internal/agnhost:2.66.1", args: [netexec]}]
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: drill}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
"""


def kubectl(lab, *words, text=None):
    """Run kubectl on a control plane; return what it printed."""
    command = "kubectl --kubeconfig /etc/kubernetes/admin.conf " + " ".join(words)
    return lab.on(lab.plane, f"{command} <<'END'\n{text}\nEND\n" if text else command)


def lose(lab, *nodes):
    """Have machines end as in a fire: with their disks, and nobody told."""
    for node in nodes:
        name = f"kubesmith-{lab.name}-{node}"
        subprocess.run(["podman", "rm", "--force", name], check=True, capture_output=True)
        volumes = [f"{name}-{kind}" for kind in ("etcd", "kubelet", "containerd")]
        subprocess.run(["podman", "volume", "rm", *volumes], check=False, capture_output=True)


def make(lab):
    """Make the drill's objects and wait until they run."""
    kubectl(lab, "apply -f -", text=MADE)
    kubectl(lab, "-n drill rollout status deployment/web --timeout=180s")


def told(lab):
    """Return {kind/namespace/name: (UID, resourceVersion)} of the objects that a backup must bring back.

    Tokens for joining are left out: they end by themselves.
    """
    items = json.loads(kubectl(lab, f"get {KINDS} -A -o json"))["items"]
    rows = {}
    for item in items:
        meta = item["metadata"]
        if item.get("type") == "bootstrap.kubernetes.io/token":
            continue
        rows[f"{item['kind']}/{meta.get('namespace', '')}/{meta['name']}"] = (meta["uid"], int(meta["resourceVersion"]))
    return rows


def pods(lab):
    """Return {name: UID} of the drill's pods."""
    items = json.loads(kubectl(lab, "-n drill get pods -o json"))["items"]
    return {item["metadata"]["name"]: item["metadata"]["uid"] for item in items}


def newest(lab):
    """Return the cluster's present revision."""
    return int(json.loads(kubectl(lab, "get --raw /api/v1/namespaces?limit=1"))["metadata"]["resourceVersion"])


def works(lab):
    """Have the drill's service answer on a node."""
    address = kubectl(lab, "-n drill get service web -o 'jsonpath={.spec.clusterIP}'").strip()
    ask = f"import urllib.request as u; print(u.urlopen('http://{address}/hostname', timeout=3).read().decode())"
    script = f'for _ in $(seq 60); do python3 -c "{ask}" 2>&1 && exit 0; sleep 1; done; exit 1'
    assert lab.on(lab.plane, script).strip().splitlines()[-1].startswith("web-")
