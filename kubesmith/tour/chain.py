"""A pod's whole chain at once: from its owner to the kernel's rules, read from the cluster; nothing is changed."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from kubesmith.errors import KubesmithError
from kubesmith.tour import guard
from kubesmith.tour.api import Cluster, Object
from kubesmith.tour.nodes import Nodes
from kubesmith.tour.texts import Texts
from kubesmith.tour.tours.store import ETCDCTL

PLURALS = {"Node": "/api/v1/nodes"}
DNS_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")


def find(api: Cluster, wanted: str, namespace: str | None, texts: Texts) -> Object:
    """Return the pod that is meant by NAME or NAMESPACE/NAME; InputError for none, or more than one."""
    before, slash, name = wanted.rpartition("/")
    if slash and namespace and before != namespace:
        raise texts.error("two_namespaces", first=before[:60], second=namespace[:60])
    space = before if slash else namespace
    for text in (name, *([space] if space is not None else [])):
        if not DNS_NAME.fullmatch(text):
            raise texts.error("no_pod_name", name=wanted[:80])
    pods = api.items("/api/v1/pods")
    found = [pod for pod in pods if pod["metadata"]["name"] == name]
    found = [pod for pod in found if not space or pod["metadata"]["namespace"] == space]
    if len(found) == 1:
        return found[0]
    if found:
        places = ", ".join(sorted(f"{pod['metadata']['namespace']}/{name}" for pod in found))
        raise texts.error("many_pods", name=name, places=places)
    names = [pod["metadata"]["name"] for pod in pods if not space or pod["metadata"]["namespace"] == space]
    meant = guard.near(name, names)
    error = texts.error("no_pod", name=wanted[:80])
    error.fix = (texts("fixes.meant", name=meant) if meant else "") + error.fix
    raise error


def owners(api: Cluster, item: Object) -> list[Object]:
    """Return the chain of owners, the nearest first: kind, name, uid."""
    rows: list[Object] = []
    space = item["metadata"].get("namespace", "")
    while True:
        above = next((row for row in item["metadata"].get("ownerReferences", ()) if row.get("controller")), None)
        if above is None or len(rows) > 5:
            return rows
        rows.append({"kind": above["kind"], "name": above["name"], "uid": above["uid"]})
        root = f"/apis/{above['apiVersion']}" if "/" in above["apiVersion"] else f"/api/{above['apiVersion']}"
        place = PLURALS.get(above["kind"]) or f"{root}/namespaces/{space}/{above['kind'].lower()}s"
        found = api.find(f"{place}/{above['name']}")
        if found is None:
            return rows
        item = found


def services(api: Cluster, pod: Object) -> list[Object]:
    """Return the services that send traffic to the pod: name, address, whether it is ready for it."""
    space, uid = pod["metadata"]["namespace"], pod["metadata"]["uid"]
    rows: dict[str, Object] = {}
    for item in api.items(f"/apis/discovery.k8s.io/v1/namespaces/{space}/endpointslices"):
        name = item["metadata"].get("labels", {}).get("kubernetes.io/service-name", "")
        for end in item.get("endpoints") or ():
            if name and end.get("targetRef", {}).get("uid") == uid:
                spec = (api.find(f"/api/v1/namespaces/{space}/services/{name}") or {"spec": {}})["spec"]
                address, ready = spec.get("clusterIP", ""), end.get("conditions", {}).get("ready", False)
                rows[name] = {"name": name, "address": address, "ready": ready}
    return list(rows.values())


def stored(nodes: Nodes, pod: Object) -> Object:
    """Return what etcd has of the pod: key, revisions, version; the value stays there."""
    meta = pod["metadata"]
    key = f"/registry/pods/{meta['namespace']}/{meta['name']}"
    why = ""
    for name in nodes.control_planes:
        try:
            answer = json.loads(nodes.run(name, f"{ETCDCTL} get {key} --keys-only -w json", seconds=20))
        except (KubesmithError, ValueError) as error:
            why = str(error)
            continue
        for row in answer.get("kvs", ()):
            found = base64.b64decode(row["key"]).decode()
            numbers = {part: row.get(part, 0) for part in ("create_revision", "mod_revision", "version")}
            return {"key": found, "node": name, **numbers}
        why = "-"
    return {"key": key, "error": why}


def gather(api: Cluster, nodes: Nodes, pod: Object) -> dict[str, Any]:
    """Return the whole chain; a part that cannot be had has its reason under ``error``."""
    meta, spec, status = pod["metadata"], pod["spec"], pod["status"]
    serving = services(api, pod)
    made: dict[str, Any] = {
        "pod": {
            "namespace": meta["namespace"],
            "name": meta["name"],
            "uid": meta["uid"],
            "phase": status.get("phase", ""),
            "ip": status.get("podIP", ""),
            "host_network": bool(spec.get("hostNetwork")),
            "node": spec.get("nodeName", ""),
        },
        "owners": owners(api, pod),
        "services": serving,
        "etcd": stored(nodes, pod),
    }
    if node := spec.get("nodeName"):
        made["runtime"] = _runtime(nodes, node, pod, [row["address"] for row in serving])
    return made


def _runtime(nodes: Nodes, node: str, pod: Object, addresses: Sequence[str]) -> Mapping[str, Any]:
    meta = pod["metadata"]
    created = datetime.fromisoformat(meta["creationTimestamp"].replace("Z", "+00:00")).timestamp()
    # The kubelet knows a static pod by another uid than the API server does.
    uid = meta.get("annotations", {}).get("kubernetes.io/config.mirror", meta["uid"])
    own = "" if pod["spec"].get("hostNetwork") else pod["status"].get("podIP", "")
    named = [address for address in addresses if address not in ("", "None")]
    question = {"uid": uid, "name": meta["name"], "ip": own, "services": named, "since": created, "log": False}
    if node not in nodes.variables:
        return {"error": f"{node} is not in the inventory"}
    try:
        return nodes.ask(node, "runtime", question, seconds=90)
    except KubesmithError as error:
        return {"error": str(error)}
