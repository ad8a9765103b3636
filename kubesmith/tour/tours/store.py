"""T8: etcd is lost on every control plane and restored from its backup alone."""

from __future__ import annotations

import json
import re
from functools import partial

from kubesmith.tour.api import Object
from kubesmith.tour.journal import Undo
from kubesmith.tour.stage import Stage
from kubesmith.tour.tours import parts
from kubesmith.tour.tours.components import refusal
from kubesmith.tour.workload import PORT, on, service, web

FOLDER = "/var/lib/kubesmith-tour"
BACKUP = f"{FOLDER}/etcd.db"
DATA = "/var/lib/etcd"
KEPT = f"{DATA}/kubesmith-tour-member"  # beside the member, so that putting it away is one rename
NEW = f"{DATA}/kubesmith-tour-new"
PKI = "/etc/kubernetes/pki/etcd"
KEYS = f"--cacert={PKI}/ca.crt --cert={PKI}/healthcheck-client.crt --key={PKI}/healthcheck-client.key"
ETCDCTL = f"etcdctl --endpoints=https://127.0.0.1:2379 {KEYS}"
ENDED = "for i in $(seq 240); do pgrep -x etcd >/dev/null || break; sleep 0.5; done; ! pgrep -x etcd >/dev/null"
BOTH = ("etcd", "kube-apiserver")
#: What was there before, unless the restored one has taken its place for good.
WAY_BACK = f"""\
if [ -d {KEPT} ]; then
{parts.park(*BOTH)}
{ENDED}
rm -rf {DATA}/member {NEW}
mv {KEPT} {DATA}/member
fi
{parts.unpark(*BOTH)}
rm -rf {NEW} {FOLDER}"""
TIDY = f"rm -rf {KEPT} {NEW} {FOLDER}"
#: Watches of before would wait for revisions that are yet to come: the restored etcd counts on from far above them.
AHEAD = 1_000_000


def take(stage: Stage) -> None:
    """Take the tour."""
    first = stage.nodes.control_planes[0]
    stage.space()
    stage.create(web(stage.image(), spec=on([stage.worker])), service(), note("before"))
    pod = stage.ready()[0]
    url = f"http://{pod['status']['podIP']}:{PORT}/hostname"
    stage.must("answers", lambda: parts.answers(stage, stage.worker, url), 30)
    backed_up = _backup(stage, first)
    stage.act("note_after", lambda: stage.create(note("after")))
    with stage.asking(stage.worker, {"pod": url}) as answers:
        stage.zero()
        _lose(stage)
        why = refusal(stage)
        stage.claim("kubectl_fails", why, why=why or "-")
        stage.say("restore")
        _restore(stage, first)
        stage.must("api", lambda: not refusal(stage), 240, 1)
        stage.see("api", source="kubectl")
    row = answers["pod"]
    stage.claim("served", row["sent"] and row["good"] == row["sent"], good=row["good"], sent=row["sent"])
    _compare(stage, first, backed_up, pod)
    _settle(stage)


def note(name: str) -> Object:
    """Return a small object by which it is seen what came back."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"written": name}}


def _backup(stage: Stage, first: str) -> Object:
    """Save etcd into a file; return what etcdutl says of it: hash, revision, number of keys, size."""
    script = f"install -d -m 700 {FOLDER} && {ETCDCTL} snapshot save {BACKUP} >/dev/null && chmod 600 {BACKUP}"
    way = Undo(node=first, script=f"rm -rf {FOLDER}")
    stage.act("backup", lambda: stage.nodes.run(first, script), way, node=first, file=BACKUP)
    status: Object = json.loads(stage.nodes.run(first, f"etcdutl snapshot status {BACKUP} -w json"))
    values = {"revision": status["revision"], "keys": status["totalKey"], "hash": f"{int(status['hash']):08x}"}
    stage.see("backup", source="etcd", **values)
    return status


def _lose(stage: Stage) -> None:
    ways = [Undo(node=node, script=WAY_BACK) for node in stage.nodes.control_planes]
    stage.journal.note(*ways)
    for node in stage.nodes.control_planes:
        script = f"{parts.park(*BOTH)}\n{ENDED}\nmv {DATA}/member {KEPT}"
        stage.act("lose", partial(stage.nodes.run, node, script, seconds=180), node=node)
        left = stage.nodes.run(node, f"ls {DATA}/member 2>/dev/null || true")
        stage.claim("lost", not left, node=node, folder=f"{DATA}/member")


def _restore(stage: Stage, first: str) -> None:
    """Restore every member from the one file, and start the control planes again."""
    nodes = stage.nodes.control_planes
    for node in nodes[1:]:
        stage.nodes.put(node, BACKUP, stage.nodes.run(first, f"base64 -w0 {BACKUP}", seconds=120))
    peers = {node: _flags(stage, node) for node in nodes}
    cluster = ",".join(f"{flags['name']}={flags['initial-advertise-peer-urls']}" for flags in peers.values())
    for node, flags in peers.items():
        script = f"""\
rm -rf {NEW}
etcdutl snapshot restore {BACKUP} --data-dir {NEW} --name {flags["name"]} --initial-cluster {cluster} \
--initial-cluster-token kubesmith-tour --initial-advertise-peer-urls {flags["initial-advertise-peer-urls"]} \
--bump-revision {AHEAD} --mark-compacted >/dev/null
mv {NEW}/member {DATA}/member
rm -rf {NEW}"""
        stage.act("restore", partial(stage.nodes.run, node, script, seconds=180), node=node)
    for node in nodes:
        stage.act("start", partial(stage.nodes.run, node, parts.unpark(*BOTH)), node=node)


def _flags(stage: Stage, node: str) -> dict[str, str]:
    """Return a member's name and address for peers, as its parked manifest has them."""
    text = stage.nodes.run(node, f"cat {parts.PARKED}/etcd.yaml")
    found = dict(re.findall(r"--(name|initial-advertise-peer-urls)=(\S+)", text))
    return {key: value.strip("\"'") for key, value in found.items()}


def _compare(stage: Stage, first: str, backed_up: Object, pod: Object) -> None:
    """Assert that what was in the backup is there, that what came after it is not, and that nothing was restarted."""
    maps = f"/api/v1/namespaces/{stage.namespace}/configmaps"
    stage.claim("before_there", stage.must("before", lambda: stage.api.find(f"{maps}/before"), 60))
    stage.claim("after_gone", stage.api.find(f"{maps}/after") is None)
    status = json.loads(stage.nodes.run(first, f"{ETCDCTL} endpoint status -w json"))[0]["Status"]
    revision = int(status["header"]["revision"])
    stage.see("revision", source="etcd", revision=revision, before=backed_up["revision"])
    stage.claim("ahead", revision > backed_up["revision"] + AHEAD // 2, revision=revision, before=backed_up["revision"])
    now = stage.ready()[0]
    same = now["metadata"]["uid"] == pod["metadata"]["uid"]
    restarts = sum(row["restartCount"] for row in now["status"].get("containerStatuses", ()))
    stage.claim("same_pod", same and not restarts, pod=pod["metadata"]["name"])
    stage.act("note_new", lambda: stage.create(note("new")))
    stage.claim("writes", stage.api.find(f"{maps}/new") is not None)


def _settle(stage: Stage) -> None:
    """Stay with what was restored: the old data is no way back any more, only to be removed."""
    nodes = stage.nodes.control_planes
    tidy = [Undo(node=node, script=f"{parts.unpark(*BOTH)}\n{TIDY}") for node in nodes]
    kept = [way for way in stage.journal.undo if way.script not in (WAY_BACK, f"rm -rf {FOLDER}")]
    stage.journal.undo = [*kept, *tidy]
    stage.journal.write()
    for node in nodes:
        stage.nodes.run(node, TIDY)
