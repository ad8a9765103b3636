"""The probe and a workload: made on a control plane at the start of a round, and always removed at its end."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from kubesmith.verify.remote.common import BUNDLE, Api, read, until

LABEL = "kubesmith.io/verify"
HOLDER = "kubesmith.io/verify-holder"
NAMESPACES = "/api/v1/namespaces"
HTTP, UDP = 8080, 8081
GONE_SECONDS = 15
NO_IMAGE = ("ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName")
Object = dict[str, Any]


# --- what the workload is


def probe(question: dict[str, Any], image: str) -> list[Object]:
    """Return the objects of the network proofs: a namespace, a server on every node, and services on it."""
    namespace = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": question["namespace"],
            "labels": {LABEL: "true", "pod-security.kubernetes.io/enforce": "privileged"},
            "annotations": {HOLDER: question["holder"]},
        },
    }
    inside = [
        _object("v1", "ServiceAccount", "probe"),
        _object("v1", "ConfigMap", "probe", data={"word": question["word"]}),
        _object("v1", "Secret", "probe", stringData={"word": question["word"]}),
        _object("apps/v1", "DaemonSet", "probe", spec=_daemon_set(image, question["host_port"])),
        _service("probe", {"type": "NodePort"}),
        _service("local", {"internalTrafficPolicy": "Local"}),
        _service("headless", {"clusterIP": "None"}),
    ]
    return [namespace, *_in(question["namespace"], inside)]


def workload(question: dict[str, Any], image: str) -> list[Object]:
    """Return what a user would deploy, for the nodes of ``nodes``: a deployment and a job."""
    inside = [
        _object("apps/v1", "Deployment", "app", spec=_deployment(image, question["workers"], question["nodes"])),
        _object("batch/v1", "Job", "job", spec=_job(image, question["workers"], question["nodes"])),
    ]
    return _in(question["namespace"], inside)


def _in(namespace: str, items: list[Object]) -> list[Object]:
    for item in items:
        item["metadata"]["namespace"] = namespace
    return items


def _object(version: str, kind: str, name: str, **body: Any) -> Object:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, "labels": {"app": name}}, **body}


def _service(name: str, spec: Object) -> Object:
    ports = [{"name": "http", "port": 80, "targetPort": HTTP}]
    return _object("v1", "Service", name, spec={"selector": {"app": "probe"}, "ports": ports, **spec})


def _server(image: str, **more: Any) -> Object:
    return {
        "name": "server",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "args": ["netexec", f"--http-port={HTTP}", f"--udp-port={UDP}"],
        "readinessProbe": {"httpGet": {"path": "/healthz", "port": HTTP}, "periodSeconds": 1},
        **more,
    }


def _pod(app: str, container: Object, **spec: Any) -> Object:
    base = {"terminationGracePeriodSeconds": 1, "enableServiceLinks": False, "containers": [container]}
    return {"metadata": {"labels": {"app": app}}, "spec": {**base, **spec}}


def _daemon_set(image: str, host_port: int) -> Object:
    server = _server(
        image,
        ports=[{"containerPort": HTTP, "hostPort": host_port}],
        volumeMounts=[{"name": kind, "mountPath": f"/probe/{kind}"} for kind in ("config", "secret")],
    )
    volumes = [
        {"name": "config", "configMap": {"name": "probe"}},
        {"name": "secret", "secret": {"secretName": "probe"}},
    ]
    pod = _pod("probe", server, serviceAccountName="probe", tolerations=[{"operator": "Exists"}], volumes=volumes)
    return {"selector": {"matchLabels": {"app": "probe"}}, "template": pod}


def _scheduling(workers: Sequence[str], nodes: Sequence[str]) -> Object:
    """Return where ordinary pods go: to workers whose kubelet runs, or, where there are none, to control planes."""
    terms = [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [n]}]} for n in workers or nodes]
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}
    taint = {"key": "node-role.kubernetes.io/control-plane", "operator": "Exists"}
    return {"affinity": affinity, "tolerations": [] if workers else [taint], "automountServiceAccountToken": False}


def _deployment(image: str, workers: Sequence[str], nodes: Sequence[str]) -> Object:
    spread = [
        {
            "maxSkew": 1,
            "topologyKey": "kubernetes.io/hostname",
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": {"app": "app"}},
        }
    ]
    return {
        "replicas": min(max(len(workers), 1), 3),
        "selector": {"matchLabels": {"app": "app"}},
        "strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        "template": _pod("app", _server(image), topologySpreadConstraints=spread, **_scheduling(workers, nodes)),
    }


def _job(image: str, workers: Sequence[str], nodes: Sequence[str]) -> Object:
    container = {
        "name": "job",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "args": ["entrypoint-tester", "done"],
    }
    pod = _pod("job", container, restartPolicy="Never", **_scheduling(workers, nodes))
    return {"backoffLimit": 1, "template": pod}


# --- its life


def image(sent: str) -> str:
    """Return the reference of the test server's image in this node's bundle, or ``sent`` where it has none."""
    if not Path(BUNDLE).exists():
        if sent:
            return sent
        raise RuntimeError(
            f"neither {BUNDLE} of this node nor a bundle on the controller names the test server's image; "
            "set kubesmith_verify_image in the inventory"
        )
    refs = [
        image["ref"] for component in json.loads(read(BUNDLE))["components"] for image in component.get("images", [])
    ]
    return str(next(ref for ref in refs if "/agnhost:" in ref))


def start(question: dict[str, Any]) -> dict[str, Any]:
    """Create the probe; answer with the namespaces of other rounds, dead or alive: name, holder, when created."""
    api = Api()
    for item in probe(question, question["image"] or image(question["sent"])):
        api.create(place_of(item), item)
    others = [n["metadata"] for n in api.items(f"{NAMESPACES}?labelSelector={quote(LABEL)}")]
    return {
        "others": [
            {"name": o["name"], "holder": o.get("annotations", {}).get(HOLDER, ""), "created": o["creationTimestamp"]}
            for o in others
            if o["name"] != question["namespace"]
        ]
    }


def place_of(item: Object) -> str:
    """Return the API path at which an object of this kind is created."""
    version, space = item["apiVersion"], item["metadata"].get("namespace")
    root = f"/apis/{version}" if "/" in version else f"/api/{version}"
    return f"{root}/namespaces/{space}/{item['kind'].lower()}s" if space else NAMESPACES


def wait(question: dict[str, Any]) -> dict[str, Any]:
    """Create the workload, and wait until the probe is Ready on each of ``nodes``, or ``seconds`` are over.

    Answers with the probe's pods by node, and its services.
    """
    api = Api()
    for item in workload(question, question["image"] or image(question["sent"])):
        api.create(place_of(item), item)
    space = f"{NAMESPACES}/{question['namespace']}"

    def probes() -> dict[str, Object]:
        pods = api.items(f"{space}/pods?labelSelector=app%3Dprobe")
        return {pod["spec"].get("nodeName", ""): describe(pod) for pod in pods}

    def settled() -> bool:
        """Tell whether every node's probe is Ready, or can never be."""
        found = probes()
        return all(
            found.get(node, {}).get("ready") or found.get(node, {}).get("hopeless") for node in question["nodes"]
        )

    until(settled, question["seconds"])
    services = {service["metadata"]["name"]: service["spec"] for service in api.items(f"{space}/services")}
    return {"pods": probes(), "services": services}


def describe(pod: Object) -> Object:
    """Return name, uid, address, node, whether Ready, and what stands in the way if not; hopeless without an image."""
    status = pod["status"]
    conditions = {condition["type"]: condition for condition in status.get("conditions", [])}
    waiting = [c["state"]["waiting"] for c in status.get("containerStatuses", []) if "waiting" in c["state"]]
    reasons = [f"{w.get('reason', '')} {w.get('message', '')}".strip() for w in waiting]
    reasons += [c["message"] for c in conditions.values() if c["status"] != "True" and c.get("message")]
    return {
        "name": pod["metadata"]["name"],
        "uid": pod["metadata"]["uid"],
        "ip": status.get("podIP", ""),
        "ip6": next((row["ip"] for row in status.get("podIPs", ()) if ":" in row["ip"]), ""),
        "node": pod["spec"].get("nodeName", ""),
        "ready": conditions.get("Ready", {}).get("status") == "True" and "deletionTimestamp" not in pod["metadata"],
        "hopeless": any(w.get("reason") in NO_IMAGE for w in waiting),
        "state": "; ".join([status.get("phase", "unknown"), *reasons]),
    }


def finish(question: dict[str, Any]) -> dict[str, Any]:
    """Remove the namespaces, and wait until no pod is left in the first: who looks next sees his own pods only."""
    api = Api()
    for name in question["namespaces"]:
        api.delete(f"{NAMESPACES}/{name}")
    pods = f"{NAMESPACES}/{question['namespaces'][0]}/pods"
    return {"gone": until(lambda: not api.get(pods)["items"], GONE_SECONDS)}


def main(question: dict[str, Any]) -> dict[str, Any]:
    """Do the step that the question names: start, wait or finish."""
    steps = {"start": start, "wait": wait, "finish": finish}
    return steps[question["step"]](question)
