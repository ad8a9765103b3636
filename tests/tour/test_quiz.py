"""Each exercise: unsolved it is graded wrong, solved by a script it is graded right, and nothing is left of it."""

import json

import pytest

from kubesmith.tour.quiz import EXERCISES, HINTS

SPEC = '{"spec":{"ingress":[{"from":[{"podSelector":{"matchLabels":{"kubesmith.io/friend":"yes"}}}]}]}}'


def kubectl(lab, name, *words):
    lab.must("kubectl", "-n", f"quiz-{name}", *words)


def selector(lab, name):
    kubectl(lab, name, "patch", "service", "web", "-p", '{"spec":{"selector":{"app":"web"}}}')


def image(lab, name):
    place = ("get", "deployment", "web", "-o", "jsonpath={.spec.template.spec.containers[0].image}")
    wrong = lab.must("kubectl", "-n", f"quiz-{name}", *place).strip().splitlines()[-1]
    kubectl(lab, name, "set", "image", "deployment/web", f"server={wrong.removesuffix('-typo')}")


def binding(lab, name):
    kubectl(lab, name, "create", "rolebinding", "mine", "--role=reader", f"--serviceaccount=quiz-{name}:reader")


def policy(lab, name):
    kubectl(lab, name, "patch", "networkpolicy", "web", "--type=merge", "-p", SPEC)


def taints(lab, _name):
    lab.must("kubectl", "uncordon", "w1")
    lab.must("kubectl", "taint", "node", "w1", "kubesmith.io/maintenance-")


def kubelet(lab, _name):
    lab.on("w1", "systemctl enable --now kubelet")


def scheduler(lab, _name):
    lab.on("cp1", "sed -i s/=yse/=true/ /etc/kubernetes/manifests/kube-scheduler.yaml")
    lab.must("wait-for", "ready")


SOLUTIONS = {
    "service-selector": selector,
    "bad-image": image,
    "rbac-binding": binding,
    "network-policy": policy,
    "tainted-nodes": taints,
    "kubelet-down": kubelet,
    "scheduler-flag": scheduler,
}
#: What looks like a solution and is none.
CHEATS = {
    "service-selector": ("delete", "deployment", "web"),
    "rbac-binding": (
        "create",
        "rolebinding",
        "all",
        "--clusterrole=admin",
        "--serviceaccount=quiz-rbac-binding:reader",
    ),
    "network-policy": ("delete", "networkpolicy", "web"),
}


def test_every_exercise_has_a_solution():
    assert set(SOLUTIONS) == set(EXERCISES)


@pytest.mark.parametrize("name", EXERCISES)
def test_an_exercise(lab, name):
    said = lab.must("tour", "quiz", name)
    assert f"quiz-{name}" in said or "w1" in said
    try:
        code, answer = lab.json("tour", "check")
        assert (code, answer["solved"], len(answer["hints"])) == (1, False, 1), answer
        code, answer = lab.json("tour", "check")
        assert (code, len(answer["hints"])) == (1, 2), answer
        done = lab.run("tour", "run", "naming")
        assert done.returncode == 2, done.stdout
        SOLUTIONS[name](lab, name)
        done = lab.run("tour", "check", "--language", "ko")
        assert done.returncode == 0, done.stdout
        assert "해결" in done.stdout
    finally:
        lab.run("tour", "restore")
    assert not (lab.state / "tour" / "journal.json").exists()
    assert f"quiz-{name}" not in lab.must("kubectl", "get", "namespaces")
    lab.must("verify", "--wait")


@pytest.mark.parametrize("name", CHEATS)
def test_what_only_looks_like_a_solution(lab, name):
    lab.must("tour", "quiz", name)
    try:
        kubectl(lab, name, *CHEATS[name])
        code, answer = lab.json("tour", "check")
        assert (code, answer["solved"]) == (1, False), answer
    finally:
        lab.must("tour", "restore")


def test_giving_up(lab):
    lab.must("tour", "quiz", "tainted-nodes")
    for _time in range(HINTS + 1):
        code, answer = lab.json("tour", "check")
        assert code == 1
    assert len(answer["hints"]) == HINTS
    lab.must("tour", "restore")
    node = json.loads(lab.must("kubectl", "get", "node", "w1", "-o", "json"))
    assert not node["spec"].get("taints")
    assert not node["spec"].get("unschedulable")
    assert lab.run("tour", "check").returncode == 2
