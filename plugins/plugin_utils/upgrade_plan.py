# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The plan of an upgrade, out of what the nodes told: the way, what is done on which node, and what speaks against it.

Pure: no machine is asked and no clock is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ansible_collections.kubesmith.cluster.plugins.module_utils.bundle import short_name
from ansible_collections.kubesmith.cluster.plugins.module_utils.upgrade import numbers, tag

BLOCK, WARN = "block", "warn"
KUBELET_SKEW = 3  # minors that a kubelet may be older than its API server (kubernetes.io/releases/version-skew-policy)
SOON = 86400.0  # seconds; a certificate that ends within them would end in the middle of it all
SPACE = {"/usr/local/bin": 500, "/var/lib/kubelet": 500, "/var/lib/etcd": 1000, "/var/lib/containerd": 500}  # MiB
SETS = {"control-plane": ("control-plane", "node", "verify"), "worker": ("node", "verify")}
#: What a person may decide to pass over; the rest would harm the cluster, or could not work.
FORCEABLE = ("certificates", "deprecated", "lost", "pdb", "unready")
Facts = Mapping[str, Any]


@dataclass(frozen=True)
class Insight:
    """Something that speaks against the upgrade: ``level`` is block or warn, ``code`` what --force takes."""

    code: str
    level: str
    text: str
    fix: str
    node: str = ""


@dataclass(frozen=True)
class Step:
    """What happens on one node; ``batch`` counts from 1 in the order of work, 0 where nothing is to do."""

    node: str
    role: str
    kubernetes: tuple[str, str]
    actions: tuple[str, ...]
    batch: int


@dataclass(frozen=True)
class Plan:
    """The whole of it. ``way`` are the versions from the running one to the wanted."""

    way: tuple[str, ...]
    components: tuple[tuple[str, str, str], ...]
    steps: tuple[Step, ...]
    insights: tuple[Insight, ...]
    batches: tuple[tuple[str, ...], ...] = field(default=())
    resumed: bool = False  # an earlier run was interrupted, and this one goes on

    @property
    def blocked(self) -> bool:
        """Tell whether it must not begin."""
        return any(insight.level == BLOCK for insight in self.insights)

    @property
    def nothing(self) -> bool:
        """Tell whether all is as wanted already."""
        return not self.batches

    def data(self) -> dict[str, Any]:
        """Return it as plain data, for JSON and for a playbook."""
        role = {step.node: step.role for step in self.steps}
        workers = [batch for batch in self.batches if role[batch[0]] == "worker"]
        return asdict(self) | {
            "blocked": self.blocked,
            "nothing": self.nothing,
            "control_planes": [node for batch in self.batches for node in batch if role[node] == "control-plane"],
            "workers": [node for batch in workers for node in batch],
            "sizes": [len(batch) for batch in workers],
        }


@dataclass(frozen=True)
class Wanted:
    """What a plan is made of.

    ``surveys`` is {node: answer of upgrade_survey}, in the inventory's order; ``roles`` says which of them are control
    planes; ``limits`` is {node: (group, max_unavailable)}. ``bundle`` is the target's bundle.json, empty where it has
    not been made. ``force`` are codes of insights to pass over.
    """

    target: str
    surveys: Mapping[str, Facts]
    roles: Mapping[str, str]
    bundle: Facts
    limits: Mapping[str, tuple[str, Any]] = field(default_factory=dict)
    force: frozenset[str] = frozenset()


def make(wanted: Wanted) -> Plan:
    """Return the plan; what must not be done is in it as a blocking insight."""
    speaker = _speaker(wanted)
    todo = {node: actions for node in wanted.surveys if (actions := tuple(_actions(wanted, node, speaker)))}
    batches = tuple(_batches(wanted, todo, speaker))
    number = {node: index for index, batch in enumerate(batches, 1) for node in batch}
    steps = tuple(
        Step(node, wanted.roles[node], (_running(wanted, node, speaker), wanted.target), todo.get(node, ()), place)
        for node, place in sorted(
            ((node, number.get(node, 0)) for node in wanted.surveys), key=lambda row: row[1] or len(number) + 1
        )
    )
    insights = tuple(_levelled(insight, wanted.force) for rule in RULES for insight in rule(wanted, speaker, todo))
    way, components = _way(wanted, speaker), tuple(_components(wanted, speaker))
    return Plan(way, components, steps, insights, batches, _resumed(wanted, speaker))


def _levelled(insight: Insight, force: frozenset[str]) -> Insight:
    """Return the insight, no longer blocking if it was decided to pass over it."""
    if insight.level == BLOCK and insight.code in force and insight.code in FORCEABLE:
        return Insight(insight.code, WARN, insight.text, "passed over by --force", insight.node)
    return insight


def _speaker(wanted: Wanted) -> Facts:
    """Return the cluster as the first control plane tells it whose API server answered; empty if none did."""
    return next((answer["cluster"] for answer in wanted.surveys.values() if answer["cluster"]), {})


def _objects(speaker: Facts) -> dict[str, Facts]:
    return {row["name"]: row for row in speaker.get("nodes", ())}


def _resumed(wanted: Wanted, speaker: Facts) -> bool:
    """Tell whether an earlier upgrade came to no end: something is kept on a node, or cordoned by us."""
    kept = any(answer["survey"]["saved"] for answer in wanted.surveys.values())
    return kept or any(row["ours"] for row in speaker.get("nodes", ()))


def _planes(wanted: Wanted) -> list[str]:
    return [node for node in wanted.surveys if wanted.roles[node] == "control-plane"]


def serving(wanted: Wanted) -> list[str]:
    """Return the versions of the API servers, by their static pods."""
    images = [wanted.surveys[node]["survey"]["static"].get("kube-apiserver", "") for node in _planes(wanted)]
    return [tag(image).removeprefix("v") for image in images if tag(image)]


def _running(wanted: Wanted, node: str, speaker: Facts) -> str:
    """Return the version that a node runs: the older of its kubelet's and, on a control plane, its API server's."""
    survey = wanted.surveys[node]["survey"]
    seen = [str(_objects(speaker).get(node, {}).get("kubelet", "")), survey["versions"]["kubelet"]]
    seen.append(tag(survey["static"].get("kube-apiserver", "")).removeprefix("v"))
    known = [version for version in seen if version]
    return min(known, key=numbers) if known else ""


def _way(wanted: Wanted, speaker: Facts) -> tuple[str, ...]:
    """Return the versions on the way: the oldest that runs, each minor between, the target."""
    known = [version for node in wanted.surveys if (version := _running(wanted, node, speaker))]
    if not known:
        return (wanted.target,)
    oldest = min(known, key=numbers)
    if numbers(oldest) >= numbers(wanted.target):
        return (oldest,) if oldest == wanted.target else (oldest, wanted.target)
    major, minor, _patch = numbers(oldest)
    between = [f"{major}.{step}" for step in range(minor + 1, numbers(wanted.target)[1])]
    return (oldest, *between, wanted.target)


def _actions(wanted: Wanted, node: str, speaker: Facts) -> Iterator[str]:
    """Yield what is to do on a node, in words; nothing if it is as wanted."""
    survey, seen = wanted.surveys[node]["survey"], _objects(speaker).get(node, {})
    component = {part["name"]: part["version"] for part in wanted.bundle.get("components", ())}
    static = [
        f"{name} {tag(image)} → {tag(ref)}"
        for name, image in survey["static"].items()
        if (ref := _image(wanted.bundle, name)) and tag(image) != tag(ref)
    ]
    yield from static
    if wanted.roles[node] == "control-plane" and speaker and speaker["configured"] not in ("", wanted.target):
        yield f"kubeadm's configuration {speaker['configured']} → {wanted.target}"
    kubelets = {survey["versions"]["kubelet"], str(seen.get("kubelet", survey["versions"]["kubelet"]))}
    if kubelets != {wanted.target}:
        old = min(kubelets - {""}, key=numbers, default="absent")
        yield f"kubelet {old} → {wanted.target}"
    there = survey["versions"]["containerd"]
    if component.get("containerd", there) != there:
        yield f"containerd {there or 'absent'} → {component['containerd']}"
    if seen.get("ours"):
        yield "uncordon, which an interrupted run left to do"


def _image(bundle: Facts, name: str) -> str:
    rows = (image["ref"] for part in bundle.get("components", ()) for image in part.get("images", ()))
    return next((ref for ref in rows if short_name(ref) == name), "")


def limit(value: Any, size: int) -> int:
    """Return how many of ``size`` nodes may be away at a time, at least 1; ``value`` is a number or a percentage."""
    text = str(value)
    count = size * int(text[:-1]) // 100 if text.endswith("%") else int(text)
    return max(1, min(size, count))


def _batches(wanted: Wanted, todo: Mapping[str, Any], speaker: Facts) -> Iterator[tuple[str, ...]]:
    """Yield the nodes to be done together: control planes one by one, then each group's workers.

    A node that an interrupted run left cordoned is the first of its kind.
    """
    objects = _objects(speaker)
    order = sorted(todo, key=lambda node: not objects.get(node, {}).get("ours"))
    for node in order:
        if wanted.roles[node] == "control-plane":
            yield (node,)
    groups: dict[str, list[str]] = {}
    sizes: dict[str, int] = {}
    for node in (node for node in wanted.surveys if wanted.roles[node] == "worker"):
        group = wanted.limits.get(node, ("", 1))[0]
        sizes[group] = sizes.get(group, 0) + 1
    for node in order:
        if wanted.roles[node] == "worker":
            groups.setdefault(wanted.limits.get(node, ("", 1))[0], []).append(node)
    for group, members in groups.items():
        size = limit(wanted.limits.get(members[0], ("", 1))[1], sizes[group])
        yield from (tuple(members[at : at + size]) for at in range(0, len(members), size))


def _components(wanted: Wanted, speaker: Facts) -> Iterator[tuple[str, str, str]]:
    """Yield (name, now, then) of the parts that have a version of their own; equal where they stay."""
    part = {row["name"]: row["version"] for row in wanted.bundle.get("components", ())}
    plane = next((wanted.surveys[node]["survey"] for node in _planes(wanted)), None)
    now = dict(speaker.get("addons", {}))
    if plane:
        now["etcd"] = tag(plane["static"].get("etcd", "")).partition("-")[0]
        now["containerd"] = plane["versions"]["containerd"]
    for name in ("etcd", "containerd", "calico", "coredns"):
        if now.get(name) and name in part:
            yield name, now[name], part[name]


Found = Iterator[Insight]


def way_is_allowed(wanted: Wanted, _speaker: Facts, _todo: Facts) -> Found:
    """Neither back, nor over a minor."""
    versions = serving(wanted)
    if not versions:
        text = "no control plane of this cluster was found on the nodes"
        yield Insight("cluster", BLOCK, text, "build it first: runner.py up")
        return
    newest, oldest = max(versions, key=numbers), min(versions, key=numbers)
    yield from refused(newest, oldest, wanted.target)


def refused(newest: str, oldest: str, target: str) -> Found:
    """Yield why a cluster with API servers of these versions does not go to ``target``."""
    if numbers(target) < numbers(newest):
        yield Insight(
            "downgrade",
            BLOCK,
            f"{newest} → {target} is a downgrade, which Kubernetes does not support",
            "keep the version; a backup of the older cluster can be restored",
        )
    elif numbers(target)[0] != numbers(oldest)[0] or numbers(target)[1] - numbers(oldest)[1] > 1:
        major, minor, _patch = numbers(oldest)
        yield Insight(
            "skipped",
            BLOCK,
            f"{oldest} → {target} skips a minor version; control planes go from minor to minor",
            f"upgrade to a {major}.{minor + 1} first",
        )


def kubelets_fit(wanted: Wanted, speaker: Facts, _todo: Facts) -> Found:
    """A kubelet is never newer than its API server, and not much older."""
    for name, row in _objects(speaker).items():
        minor, new = numbers(row["kubelet"])[1], numbers(wanted.target)[1]
        if minor > new:
            text = f"its kubelet is {row['kubelet']}, newer than {wanted.target}"
            yield Insight("skew", BLOCK, text, f"upgrade to {row['kubelet']} at the least", name)
        elif new - minor > KUBELET_SKEW:
            text = (
                f"its kubelet is {row['kubelet']}: an API server of {wanted.target} serves {KUBELET_SKEW} minors back"
            )
            yield Insight("skew", BLOCK, text, "remove the node, and add it again", name)
        if name not in wanted.surveys:
            text = "the cluster has this node, and the inventory does not: it is left as it is"
            yield Insight("skew", WARN, text, "write it into the cluster file", name)


def api_is_not_removed(wanted: Wanted, _speaker: Facts, _todo: Facts) -> Found:
    """What the target no longer serves must not be in use."""
    rows = {
        (row["api"], row["resource"], row["removed"])
        for answer in wanted.surveys.values()
        for row in answer["cluster"].get("deprecated", ())
    }
    for api, resource, removed in sorted(rows):
        gone = bool(removed) and numbers(f"{removed}.0")[:2] <= numbers(wanted.target)[:2]
        text = f"{resource} of {api} was asked for since the API server started; it is " + (
            f"not served any more from {removed} on"
            if gone
            else f"deprecated, and goes with {removed or 'a later one'}"
        )
        fix = "find who asks (the audit log, or k8s.io/deprecated in it) and have it use a newer version"
        yield Insight("deprecated", BLOCK if gone else WARN, text, fix)


def pods_can_leave(wanted: Wanted, speaker: Facts, todo: Facts) -> Found:
    """No budget forbids every eviction, and no pod is lost by one.

    A budget may be used up by the very drain that was interrupted: the next one waits for it.
    """
    level = WARN if _resumed(wanted, speaker) else BLOCK
    if todo:
        for text in speaker.get("undrainable", ()):
            fix = "give the workload one more replica, or its budget some room; --force pdb deletes the pods in the end"
            yield Insight("pdb", level, text, fix)
    for name, pods in speaker.get("lost", {}).items():
        if name in todo:
            text = f"{', '.join(pods[:5])}: no controller makes them anew on another node"
            yield Insight("lost", BLOCK, text, "move them, or let them be deleted: --force lost", name)


def certificates_last(wanted: Wanted, _speaker: Facts, _todo: Facts) -> Found:
    """None ends while the upgrade runs, or has ended."""
    for name, answer in wanted.surveys.items():
        survey = answer["survey"]
        for row in survey["certificates"]:
            left = row["ends"] - survey["time"]
            if left < SOON:
                when = "has ended" if left < 0 else f"ends in {left / 3600:.0f} h"
                authority = row["path"].endswith("/ca.crt") or row["path"].endswith("-ca.crt")
                fix = "a CA is not renewed by itself" if authority else "renew it: runner.py certs renew"
                yield Insight("certificates", BLOCK, f"{row['path']} {when}", fix, name)


def disk_is_enough(wanted: Wanted, _speaker: Facts, todo: Facts) -> Found:
    """There is room for the new images, the programs, and the snapshot of etcd."""
    for name in todo:
        survey = wanted.surveys[name]["survey"]
        images = lacking(wanted.bundle, wanted.roles[name], survey["images"])
        more = {"/var/lib/containerd": 2 * sum(int(image["size"]) for image in images) >> 20}
        for row in survey["disk"]:
            needed = SPACE[row["path"]] + more.get(row["path"], 0)
            if row["free"] < needed:
                text = f"{row['path']} has {row['free']} MiB free, and {needed} are needed"
                yield Insight("disk", BLOCK, text, "make room there, or enlarge the disk", name)


def lacking(bundle: Facts, role: str, present: Mapping[str, str]) -> list[Facts]:
    """Return the images that a node of a role lacks of a bundle; ``present`` is {reference: digest}."""
    rows = [image for part in bundle.get("components", ()) for image in part.get("images", ())]
    return [row for row in rows if row["set"] in SETS[role] and present.get(row["ref"]) != row["digest"]]


def etcd_is_healthy(_wanted: Wanted, speaker: Facts, _todo: Facts) -> Found:
    """Every member answers: while one is being upgraded, the others must be able to decide."""
    for text in speaker.get("etcd", ()):
        yield Insight(
            "etcd", BLOCK, f"etcd: {text}", "mend it first: runner.py status; kubectl -n kube-system get pods"
        )


def nodes_are_ready(wanted: Wanted, speaker: Facts, todo: Facts) -> Found:
    """Nodes are members and Ready, the system's workloads run. What an interrupted upgrade left is its own business."""
    level = WARN if _resumed(wanted, speaker) else BLOCK
    for name, answer in wanted.surveys.items():
        if answer["survey"]["member"] != "complete":
            fix = "finish it: runner.py up, with the version that runs"
            yield Insight("cluster", BLOCK, f"it is no member of the cluster ({answer['survey']['member']})", fix, name)
        elif answer["error"]:
            yield Insight("unready", level, f"its API server: {answer['error']}", "look: runner.py status", name)
    for name, row in _objects(speaker).items():
        if not row["ready"]:
            yield Insight("unready", level, f"it is not Ready: {row['message']}", "look: runner.py status", name)
        if row["cordoned"] and not row["ours"] and name in todo:
            text = "somebody cordoned it; it is upgraded, and stays cordoned"
            yield Insight("cordoned", WARN, text, f"kubectl uncordon {name}", name)
    if not speaker and wanted.surveys:
        yield Insight("cluster", BLOCK, "no API server answers", "look: runner.py status")
    for text in speaker.get("unready", ()):
        yield Insight("unready", level, text, "look: runner.py status")


def images_are_at_hand(wanted: Wanted, _speaker: Facts, _todo: Facts) -> Found:
    """The target's bundle has every image that is started from it."""
    if not wanted.bundle:
        text = f"the bundle for {wanted.target} has not been made: that is done first, and may take its time"
        yield Insight("images", WARN, text, "make it beforehand: runner.py bundle build")
        return
    if wanted.bundle["kubernetes"] != wanted.target:
        text = f"the bundle is for Kubernetes {wanted.bundle['kubernetes']}, and not for {wanted.target}"
        yield Insight("images", BLOCK, text, f"name the bundle for {wanted.target}")
    needed = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "coredns", "pause")
    absent = [name for name in needed if not _image(wanted.bundle, name)]
    if absent:
        text = f"the bundle for {wanted.target} has no image {', '.join(absent)}"
        yield Insight("images", BLOCK, text, "build it again: runner.py bundle build, then runner.py bundle verify")


RULES = (
    way_is_allowed,
    kubelets_fit,
    nodes_are_ready,
    etcd_is_healthy,
    api_is_not_removed,
    pods_can_leave,
    certificates_last,
    disk_is_enough,
    images_are_at_hand,
)
