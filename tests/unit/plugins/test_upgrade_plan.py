"""The way, the order of work, and each reason not to begin an upgrade, from what nodes told."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.kubesmith.cluster.plugins.module_utils import upgrade
from ansible_collections.kubesmith.cluster.plugins.plugin_utils import upgrade_plan
from ansible_collections.kubesmith.cluster.plugins.plugin_utils.upgrade_plan import BLOCK, WARN, Plan, Wanted

DAY = 86400.0
NOW = 1_800_000_000.0
PLANE = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
TARGET = "1.37.2"


def bundle(version: str = TARGET, etcd: str = "3.7.0-0", containerd: str = "2.4.2") -> dict[str, Any]:
    def image(name: str, tag: str, kind: str = "control-plane", size: int = 50 << 20) -> dict[str, Any]:
        ref = f"kubesmith.internal/{name}:{tag}"
        return {"ref": ref, "digest": f"sha256:{name}{tag}", "size": size, "set": kind}

    images = [image(name, f"v{version}") for name in PLANE]
    images += [image("etcd", etcd), image("coredns", "v1.14.6", "node"), image("pause", "3.10.2", "node")]
    images.append(image("kube-proxy", f"v{version}", "node"))
    parts = {
        "kubernetes": version,
        "containerd": containerd,
        "etcd": etcd[:-2],
        "coredns": "1.14.6",
        "calico": "3.28.5",
    }
    rows = [{"name": name, "version": number, "images": []} for name, number in parts.items()]
    rows[0]["images"] = images
    return {"kubernetes": version, "components": rows}


def node(version: str = "1.36.3", *, plane: bool = False, containerd: str = "2.3.5") -> dict[str, Any]:
    static = {name: f"kubesmith.internal/{name}:v{version}" for name in PLANE} if plane else {}
    return {
        "survey": {
            "member": "complete",
            "control_plane": "complete" if plane else "absent",
            "versions": {"kubelet": version, "kubeadm": version, "containerd": containerd, "runc": "1.5.2"},
            "static": {**static, **({"etcd": "kubesmith.internal/etcd:3.6.8-0"} if plane else {})},
            "services": {},
            "images": {},
            "disk": [{"path": path, "free": 9000, "device": 1} for path in upgrade_plan.SPACE],
            "certificates": [{"path": "/etc/kubernetes/pki/apiserver.crt", "ends": NOW + 300 * DAY}] if plane else [],
            "saved": "",
            "time": NOW,
        },
        "cluster": {},
        "error": "",
    }


def cluster(nodes: dict[str, str], configured: str = "1.36.3", **more: Any) -> dict[str, Any]:
    rows = [
        {"name": name, "kubelet": version, "ready": True, "message": "", "cordoned": False, "ours": False}
        for name, version in nodes.items()
    ]
    nothing: dict[str, Any] = {"undrainable": [], "lost": {}, "deprecated": [], "etcd": [], "unready": []}
    addons = {"coredns": "1.14.2", "kube-proxy": "1.36.3", "calico": "3.28.5"}
    return {"version": configured, "configured": configured, "nodes": rows, "addons": addons, **nothing, **more}


def wanted(planes: int = 1, workers: int = 2, version: str = "1.36.3", **more: Any) -> Wanted:
    roles = {f"cp{i + 1}": "control-plane" for i in range(planes)} | {f"w{i + 1}": "worker" for i in range(workers)}
    surveys = {name: node(version, plane=role == "control-plane") for name, role in roles.items()}
    surveys["cp1"]["cluster"] = cluster(dict.fromkeys(roles, version), version)
    return Wanted(more.pop("target", TARGET), surveys, roles, more.pop("bundle", bundle()), **more)


def told(plan: Plan, level: str = BLOCK) -> list[tuple[str, str]]:
    return [(row.code, row.node) for row in plan.insights if row.level == level]


def test_a_healthy_cluster_goes_from_minor_to_minor_in_order() -> None:
    plan = upgrade_plan.make(wanted(3, 2))
    assert plan.way == ("1.36.3", TARGET)
    assert not plan.blocked and not plan.insights
    assert plan.batches == (("cp1",), ("cp2",), ("cp3",), ("w1",), ("w2",))
    assert [step.node for step in plan.steps] == ["cp1", "cp2", "cp3", "w1", "w2"]
    assert "kubelet 1.36.3 → 1.37.2" in plan.steps[0].actions
    assert "etcd 3.6.8-0 → 3.7.0-0" in plan.steps[0].actions
    assert plan.steps[3].actions == ("kubelet 1.36.3 → 1.37.2", "containerd 2.3.5 → 2.4.2")
    assert ("coredns", "1.14.2", "1.14.6") in plan.components
    data = plan.data()
    assert data["control_planes"] == ["cp1", "cp2", "cp3"]
    assert (data["workers"], data["sizes"]) == (["w1", "w2"], [1, 1])


def test_a_cluster_that_is_there_has_nothing_to_do() -> None:
    given = wanted(version=TARGET)
    for name, answer in given.surveys.items():
        answer["survey"]["versions"]["containerd"] = "2.4.2"
        if name == "cp1":
            answer["survey"]["static"]["etcd"] = "kubesmith.internal/etcd:3.7.0-0"
    plan = upgrade_plan.make(given)
    assert plan.nothing and not plan.blocked
    assert all(step.batch == 0 and step.actions == () for step in plan.steps)


@pytest.mark.parametrize(
    ("running", "target", "code"),
    [
        ("1.37.2", "1.36.3", "downgrade"),
        ("1.37.2", "1.37.1", "downgrade"),
        ("1.35.4", "1.37.2", "skipped"),
        ("1.30.0", "1.37.2", "skipped"),
        ("2.1.0", "3.0.0", "skipped"),
    ],
)
def test_the_wrong_way_is_refused_whatever_is_forced(running: str, target: str, code: str) -> None:
    everything = frozenset(("downgrade", "skipped", *upgrade_plan.FORCEABLE))
    plan = upgrade_plan.make(wanted(version=running, target=target, bundle=bundle(target), force=everything))
    assert code in {name for name, _node in told(plan)}
    assert plan.blocked


def test_a_skipped_minor_names_the_way() -> None:
    plan = upgrade_plan.make(wanted(version="1.35.4"))
    assert plan.way == ("1.35.4", "1.36", TARGET)
    assert next(row.fix for row in plan.insights if row.code == "skipped") == "upgrade to a 1.36 first"


@pytest.mark.parametrize("target", ["1.36.3", "1.36.9", "1.37.0"])
def test_a_patch_or_the_next_minor_is_no_wrong_way(target: str) -> None:
    assert list(upgrade_plan.refused("1.36.3", "1.36.3", target)) == []


def test_half_upgraded_control_planes_go_on_and_the_cordoned_node_is_first() -> None:
    given = wanted(3, 3)
    given.surveys["cp1"]["survey"] = node(TARGET, plane=True, containerd="2.4.2")["survey"]
    given.surveys["cp1"]["survey"]["static"]["etcd"] = "kubesmith.internal/etcd:3.7.0-0"
    rows = {row["name"]: row for row in given.surveys["cp1"]["cluster"]["nodes"]}
    given.surveys["cp1"]["cluster"]["configured"] = TARGET
    rows["cp1"]["kubelet"] = TARGET
    rows["w3"] |= {"cordoned": True, "ours": True}
    plan = upgrade_plan.make(given)
    assert plan.batches == (("cp2",), ("cp3",), ("w3",), ("w1",), ("w2",))
    assert "uncordon, which an interrupted run left to do" in plan.steps[2].actions
    assert not plan.blocked
    # And it does not go back in the middle.
    back = Wanted("1.36.3", given.surveys, given.roles, bundle("1.36.3"))
    assert ("downgrade", "") in told(upgrade_plan.make(back))


def test_a_node_that_is_done_but_still_cordoned_by_us_is_given_back() -> None:
    given = wanted(version=TARGET, bundle=bundle(etcd="3.6.8-0", containerd="2.3.5"))
    given.surveys["cp1"]["cluster"]["nodes"][1] |= {"cordoned": True, "ours": True}
    assert upgrade_plan.make(given).batches == (("w1",),)


@pytest.mark.parametrize(
    ("limits", "batches"),
    [
        ({}, [["w1"], ["w2"], ["w3"], ["w4"]]),
        (dict.fromkeys(("w1", "w2", "w3", "w4"), ("", 2)), [["w1", "w2"], ["w3", "w4"]]),
        (dict.fromkeys(("w1", "w2", "w3", "w4"), ("", "50%")), [["w1", "w2"], ["w3", "w4"]]),
        (dict.fromkeys(("w1", "w2", "w3", "w4"), ("", "10%")), [["w1"], ["w2"], ["w3"], ["w4"]]),
        ({"w1": ("a", 9), "w3": ("a", 9), "w2": ("b", 1), "w4": ("b", 1)}, [["w1", "w3"], ["w2"], ["w4"]]),
    ],
)
def test_a_group_says_how_many_may_be_away(limits: dict[str, Any], batches: list[list[str]]) -> None:
    plan = upgrade_plan.make(wanted(1, 4, limits=limits))
    assert [list(batch) for batch in plan.batches[1:]] == batches
    assert plan.data()["sizes"] == [len(batch) for batch in batches]


def change(given: Wanted, what: str) -> None:
    speaker, plane, worker = given.surveys["cp1"]["cluster"], *(given.surveys[n]["survey"] for n in ("cp1", "w1"))
    row = {entry["name"]: entry for entry in speaker["nodes"]}
    {
        "newer kubelet": lambda: row["w1"].update(kubelet="1.38.0"),
        "old kubelet": lambda: row["w1"].update(kubelet="1.33.9"),
        "unknown node": lambda: speaker["nodes"].append(row["w1"] | {"name": "w9"}),
        "removed api": lambda: speaker["deprecated"].append({"api": "x/v1", "resource": "y", "removed": "1.37"}),
        "old api": lambda: speaker["deprecated"].append({"api": "x/v1", "resource": "y", "removed": "1.40"}),
        "no removal": lambda: speaker["deprecated"].append({"api": "x/v1", "resource": "y", "removed": ""}),
        "pdb": lambda: speaker["undrainable"].append("default/web lets no pod go"),
        "bare pod": lambda: speaker["lost"].update(w1=["default/bare"]),
        "ended": lambda: plane["certificates"][0].update(ends=NOW - 5),
        "ends soon": lambda: plane["certificates"][0].update(ends=NOW + DAY / 2),
        "disk": lambda: worker["disk"][-1].update(free=100),
        "etcd": lambda: speaker["etcd"].append("https://10.0.0.1:2379: context deadline exceeded"),
        "not ready": lambda: row["w1"].update(ready=False, message="kubelet stopped"),
        "their cordon": lambda: row["w1"].update(cordoned=True),
        "pods": lambda: speaker["unready"].append("kube-system/coredns-1: Pending"),
        "no member": lambda: worker.update(member="absent"),
        "silent": lambda: given.surveys["cp1"].update(cluster={}, error="connection refused"),
    }[what]()


@pytest.mark.parametrize(
    ("what", "level", "code", "where"),
    [
        ("newer kubelet", BLOCK, "skew", "w1"),
        ("old kubelet", BLOCK, "skew", "w1"),
        ("unknown node", WARN, "skew", "w9"),
        ("removed api", BLOCK, "deprecated", ""),
        ("old api", WARN, "deprecated", ""),
        ("no removal", WARN, "deprecated", ""),
        ("pdb", BLOCK, "pdb", ""),
        ("bare pod", BLOCK, "lost", "w1"),
        ("ended", BLOCK, "certificates", "cp1"),
        ("ends soon", BLOCK, "certificates", "cp1"),
        ("disk", BLOCK, "disk", "w1"),
        ("etcd", BLOCK, "etcd", ""),
        ("not ready", BLOCK, "unready", "w1"),
        ("their cordon", WARN, "cordoned", "w1"),
        ("pods", BLOCK, "unready", ""),
        ("no member", BLOCK, "cluster", "w1"),
        ("silent", BLOCK, "cluster", ""),
    ],
)
def test_each_insight_is_told_with_its_remedy(what: str, level: str, code: str, where: str) -> None:
    given = wanted()
    change(given, what)
    plan = upgrade_plan.make(given)
    assert (code, where) in told(plan, level)
    assert plan.blocked == (level == BLOCK)
    assert all(row.text and row.fix for row in plan.insights)
    forced = Wanted(given.target, given.surveys, given.roles, given.bundle, force=frozenset(upgrade_plan.FORCEABLE))
    assert upgrade_plan.make(forced).blocked == (level == BLOCK and code not in upgrade_plan.FORCEABLE)


def test_what_an_interrupted_upgrade_left_does_not_block_its_own_end() -> None:
    given = wanted()
    change(given, "not ready")
    change(given, "pods")
    given.surveys["cp1"]["survey"]["saved"] = "1.36.3_1.37.2"
    plan = upgrade_plan.make(given)
    assert not plan.blocked and len(told(plan, WARN)) == 2


def test_a_bundle_of_another_version_or_without_an_image_is_refused() -> None:
    assert told(upgrade_plan.make(wanted(bundle=bundle("1.36.3")))) == [("images", "")]
    less = copy.deepcopy(bundle())
    less["components"][0]["images"] = [row for row in less["components"][0]["images"] if "coredns" not in row["ref"]]
    assert "coredns" in upgrade_plan.make(wanted(bundle=less)).insights[0].text
    assert told(upgrade_plan.make(wanted(bundle={})), WARN) == [("images", "")]


def test_metrics_tell_which_deprecated_apis_are_in_use() -> None:
    rows = [
        ("flowcontrol.apiserver.k8s.io", "1.37", "flowschemas", "status", "v1beta3", 1),
        ("", "", "componentstatuses", "", "v1", 1),
        ("a", "1.40", "b", "", "v1", 0),
    ]
    text = "# HELP x\n" + "".join(
        f'apiserver_requested_deprecated_apis{{group="{group}",removed_release="{removed}",resource="{resource}",'
        f'subresource="{sub}",version="{version}"}} {value}\n'
        for group, removed, resource, sub, version, value in rows
    )
    assert upgrade.deprecated(text) == [
        {"api": "flowcontrol.apiserver.k8s.io/v1beta3", "resource": "flowschemas/status", "removed": "1.37"},
        {"api": "v1", "resource": "componentstatuses", "removed": ""},
    ]


@pytest.mark.parametrize("text", ["", "1.37", "stable", "1.37.x", "v1", "1.37.2.1", "-1.2.3"])
def test_what_is_no_version_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a version"):
        upgrade.numbers(text)


def test_manifests_tell_their_image(tmp_path: Path) -> None:
    folder = tmp_path / "etc/kubernetes/manifests"
    folder.mkdir(parents=True)
    text = "spec:\n  containers:\n  - command:\n    - etcd\n    image: kubesmith.internal/etcd:3.6.8-0\n"
    (folder / "etcd.yaml").write_text(text)
    assert upgrade.static_images(str(tmp_path)) == {"etcd": "kubesmith.internal/etcd:3.6.8-0"}
    assert upgrade.tag("host:5000/a/etcd:3.6.8-0") == "3.6.8-0"
    assert upgrade.tag("host:5000/a/etcd") == ""
    assert upgrade.image_of("no image here") == ""
