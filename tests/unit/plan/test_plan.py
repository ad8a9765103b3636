"""Answers of modules in check mode, in words; and how long the same took before."""

from datetime import UTC, datetime, timedelta

from kubesmith.execute import TaskResult
from kubesmith.plan import Change, Estimate, Parts, changes, estimate, lines, notices, parts

CONFIG = "/etc/containerd/config.toml"
BUNDLE = parts(
    {
        "components": [
            {
                "name": "containerd",
                "version": "2.4.2",
                "files": [
                    {"install": "/usr/local/bin/containerd"},
                    {"install": "/usr/local/bin/ctr"},
                    {"path": "manifests/x.yml"},
                ],
                "images": [],
            },
            {
                "name": "pause",
                "version": "3.10.2",
                "files": [],
                "images": [{"ref": "kubesmith.internal/pause:3.10.2", "size": 697434}],
            },
            {
                "name": "kubernetes",
                "version": "1.37.2",
                "files": [{"install": "/usr/local/bin/kubelet"}],
                "images": [{"ref": "kubesmith.internal/kube-proxy:v1.37.2", "size": 95162044}],
            },
        ]
    }
)


def answer(action, host="w1", task="a task", **values):
    return TaskResult(host, "role", task, f"kubesmith.cluster.{action}", values, "", "")


def text(path, before, after):
    return {
        "before_header": path if before is not None else f"{path} (absent)",
        "after_header": path if after is not None else f"{path} (absent)",
        "before": before or "",
        "after": after or "",
    }


def told(*results):
    return [(change.kind, change.text) for change in changes(results, BUNDLE)]


def test_a_finished_cluster_has_no_changes():
    results = [
        answer("host_prepare", changed=False, actions=[], diff=[]),
        answer("unit", changed=False, actions=[], unit="containerd", watched=[CONFIG]),
        answer("kubeadm_token", censored="hidden"),
    ]
    assert changes(results, BUNDLE) == []


def test_sysctl_and_containerd_edited_by_hand_are_exactly_those_and_the_restart():
    results = [
        answer(
            "host_prepare",
            changed=True,
            actions=["net.ipv4.ip_forward: 0 → 1"],
            diff=[text("net.ipv4.ip_forward", "0\n", "1\n")],
        ),
        answer("files", changed=True, diff=[text(CONFIG, "version = 3\nroot = '/x'\n", "version = 3\n")]),
        answer("unit", changed=True, actions=[f"restart: {CONFIG} changed"], unit="containerd", watched=[CONFIG]),
        answer("unit", changed=False, actions=[], unit="kubelet", watched=["/usr/local/bin/kubelet"]),
    ]
    assert changes(results, BUNDLE) == [
        Change("w1", "setting", "net.ipv4.ip_forward: 0 → 1"),
        Change("w1", "file", f"correct {CONFIG}", ("- root = '/x'",)),
        Change("w1", "service", f"restart containerd: {CONFIG} changed"),
    ]


def test_a_restart_is_worked_out_where_check_mode_cannot_see_it():
    results = [
        answer("files", changed=True, diff=[text(CONFIG, "a\n", "b\n")]),
        answer("unit", changed=False, actions=[], unit="containerd", watched=[CONFIG, "/usr/local/bin/containerd"]),
        answer("unit", host="w2", changed=False, actions=[], unit="containerd", watched=[CONFIG]),
    ]
    assert changes(results, BUNDLE)[1:] == [Change("w1", "service", f"restart containerd: {CONFIG} changes")]


def test_a_replaced_program_restarts_its_unit():
    row = {
        "before_header": "installed files",
        "after_header": "installed files",
        "before": "/usr/local/bin/kubelet: sha256 aa, mode 0755\n",
        "after": "/usr/local/bin/kubelet: sha256 bb, mode 0755\n",
    }
    results = [
        answer("bundle_files", changed=True, installed=["/usr/local/bin/kubelet"], diff=[row]),
        answer("unit", changed=False, actions=[], unit="kubelet", watched=["/usr/local/bin/kubelet"]),
    ]
    assert told(*results) == [
        ("program", "replace kubernetes 1.37.2: kubelet"),
        ("service", "restart kubelet: /usr/local/bin/kubelet changes"),
    ]


def test_programs_are_told_by_component_with_its_version():
    paths = ["/usr/local/bin/containerd", "/usr/local/bin/ctr", "/usr/local/bin/kubelet"]
    row = {
        "before_header": "installed files",
        "after_header": "installed files",
        "before": "".join(f"{path}: absent\n" for path in paths),
        "after": "".join(f"{path}: sha256 aa, mode 0755\n" for path in paths),
    }
    assert told(answer("bundle_files", changed=True, installed=paths, diff=[row])) == [
        ("program", "install containerd 2.4.2: containerd, ctr"),
        ("program", "install kubernetes 1.37.2: kubelet"),
    ]


def test_an_image_is_imported_once_on_a_node():
    pause, proxy = "kubesmith.internal/pause:3.10.2", "kubesmith.internal/kube-proxy:v1.37.2"
    assert told(
        answer("bundle_images", changed=True, imported=[proxy, pause], diff=[]),
        answer("bundle_images", changed=True, imported=[pause], diff=[]),
    ) == [("image", "import 2 image(s), 96 MB: kube-proxy:v1.37.2, pause:3.10.2")]


def test_a_bare_node_from_host_to_member():
    assert told(
        answer("host_prepare", changed=True, actions=["swap off: /dev/sda2", "write /etc/fstab"], diff=[]),
        answer("files", changed=True, diff=[text(CONFIG, None, "version = 3\n"), text("/etc/old", "x", None)]),
        answer("unit", changed=True, actions=["enable", "start"], unit="containerd", watched=[]),
        answer("kubeadm_init", changed=True, found="partial", actions=["kubeadm reset", "kubeadm init"], diff=[]),
        answer("kubeconfig", changed=True, dest="/s/kubeconfig"),
        answer("kube_apply", changed=True, applied=["Namespace a", "Pod b"], diff={"prepared": "no cluster yet\n"}),
        answer("kubeadm_join", changed=True, actions=["kubeadm join"]),
        answer("kube_nodes", changed=True, actions=["label w1 tier=web"], diff=[]),
        answer("kube_wait", changed=False, unready=["the API server does not answer"]),
    ) == [
        ("setting", "swap off: /dev/sda2"),
        ("file", "write /etc/fstab"),
        ("file", f"write {CONFIG}"),
        ("file", "remove /etc/old"),
        ("service", "enable containerd"),
        ("service", "start containerd"),
        ("cluster", "undo what an interrupted run left (kubeadm reset)"),
        ("cluster", "initialise the control plane (kubeadm init)"),
        ("file", "fetch the administrator's kubeconfig to /s/kubeconfig"),
        ("cluster", "apply 2 objects of Calico"),
        ("cluster", "join the cluster (kubeadm join)"),
        ("cluster", "label w1 tier=web"),
    ]


def test_an_object_that_differs_is_told_with_its_lines():
    diff = [text("ConfigMap kube-system/calico-config", '{\n "mtu": 1\n}\n', '{\n "mtu": 2\n}\n')]
    made = answer("kube_apply", changed=True, applied=["ConfigMap kube-system/calico-config"], diff=diff)
    assert changes([made], BUNDLE) == [
        Change("w1", "cluster", "apply ConfigMap kube-system/calico-config", ('-  "mtu": 1', '+  "mtu": 2'))
    ]


def test_a_module_nobody_has_words_for_is_told_by_its_task():
    assert told(answer("something_new", task="Do it", changed=True)) == [("setting", "Do it")]


def test_what_differs_and_is_not_applied_is_a_notice():
    diff = [text("/etc/kubernetes/kubeadm.yml", "clusterName: a\n", "clusterName: b\n")]
    made = answer("kubeadm_init", changed=False, found="complete", actions=[], diff=diff)
    assert changes([made], BUNDLE) == []
    (notice,) = notices([made])
    assert (notice.node, notice.detail) == ("w1", ("- clusterName: a", "+ clusterName: b"))


def test_what_somebody_edited_of_kubeadms_files_is_told_by_name_and_is_no_change():
    path, copy = "/var/lib/kubelet/config.yaml", "/var/lib/kubesmith/written/var%lib%kubelet%config.yaml"
    row = {"path": path, "copy": copy, "before": "maxPods: 9\n", "after": "maxPods: 110\n"}
    gone = {"path": "/etc/kubernetes/manifests/etcd.yaml", "copy": "/c", "before": "", "after": "a\n"}
    made = answer("node_facts", changed=False, ansible_facts={"kubesmith": {"edited": [row, gone]}})
    assert changes([made, made], BUNDLE) == []
    kubelet, etcd = notices([made, made])
    assert (kubelet.node, kubelet.detail) == ("w1", ("- maxPods: 9", "+ maxPods: 110"))
    assert kubelet.text == (
        f"{path} is not as kubeadm wrote it, and up leaves it; to undo that, on the node: cp {copy} {path}, "
        "then systemctl restart kubelet"
    )
    assert etcd.text.startswith("/etc/kubernetes/manifests/etcd.yaml is gone, or empty, and up leaves it")


def test_modes_are_told_with_their_files():
    action = "/etc/kubernetes/pki/ca.key: 0644 root:root → 0600 root:root"
    assert told(answer("node_permissions", changed=True, actions=[action])) == [("file", f"correct {action}")]


def test_lines_that_go_and_come():
    assert lines("a\nb\nc\n", "a\nB\nc\nd\n") == ("- b", "+ B", "+ d")


class TestEstimate:
    def run(self, *rows, start=datetime(2026, 11, 1, tzinfo=UTC)):
        """Rows (host, task, seconds, changed), tasks one after another without a gap."""
        made, ends = [], {}
        for host, task, seconds, changed in rows:
            begin = ends.setdefault(task, start)
            start = max(start, begin + timedelta(seconds=seconds))
            row = {"host": host, "role": "role", "task": task, "status": "ok", "changed": changed, "seconds": seconds}
            made.append(row | {"start": begin.isoformat()})
        return made

    def planned(self, **tasks):
        return [answer("files", task=task, changed=changed) for task, changed in tasks.items()]

    def test_no_earlier_run(self):
        assert estimate(self.planned(a=True), []) is None

    def test_the_median_of_the_slowest_hosts(self):
        runs = [
            self.run(("w1", "a", 1, True), ("w2", "a", 4, True)),
            self.run(("w1", "a", 6, True)),
            self.run(("w1", "a", 5, True)),
        ]
        assert estimate(self.planned(a=True), runs) == Estimate(5.0, 3)

    def test_a_task_that_changed_nothing_then_tells_little_of_one_that_will(self):
        runs = [self.run(("w1", "a", 9, True)), self.run(("w1", "a", 1, False))]
        assert estimate(self.planned(a=True), runs).seconds == 9
        assert estimate(self.planned(a=False), runs).seconds == 1

    def test_runs_that_did_nearly_the_same_count_first(self):
        build = self.run(
            ("w1", "a", 2, True), ("w1", "b", 3, True), ("w1", "init", 30, True), ("w1", "wait", 20, False)
        )
        mend = self.run(("w1", "a", 2, True), ("w1", "b", 3, False), ("w1", "init", 1, False), ("w1", "wait", 1, False))
        runs = [build, mend, mend, mend]
        assert estimate(self.planned(a=True, b=False, init=False, wait=False), runs).seconds == 7

    def test_what_no_run_had_to_do_is_named(self):
        found = estimate(self.planned(a=True, b=True), [self.run(("w1", "a", 2, True))])
        assert (found.seconds, found.unknown) == (2.0, ("b",))

    def test_what_ansible_needs_between_the_tasks_is_counted(self):
        late = self.run(("w1", "b", 1, True), start=datetime(2026, 11, 1, 0, 0, 10, tzinfo=UTC))
        assert estimate(self.planned(a=True, b=True), [self.run(("w1", "a", 2, True)) + late]).seconds == 11.0

    def test_a_damaged_run_is_no_run(self):
        assert estimate(self.planned(a=True), [[], []]) is None


def test_an_empty_bundle_has_no_parts():
    assert parts({}) == Parts()


def test_of_a_task_that_handles_a_password_only_its_name_is_told():
    hidden = answer("files", task="configure | Write logins", changed=True, censored="the output has been hidden")
    assert told(hidden) == [("setting", "configure | Write logins")]


def test_a_kubelets_settings_are_shown_with_their_lines_and_the_restart():
    path = "/etc/kubernetes/kubelet.conf.d/50-kubesmith.conf"
    result = answer(
        "kubelet_settings",
        changed=True,
        actions=[f"write {path}", "restart kubelet"],
        diff=[text(path, '"maxPods": 10\n', '"maxPods": 20\n')],
    )
    assert changes([result], BUNDLE) == [
        Change("w1", "file", f"correct {path}", ('- "maxPods": 10', '+ "maxPods": 20')),
        Change("w1", "service", "restart kubelet", ()),
    ]


def test_programs_of_other_hands_are_named_with_what_becomes_of_them():
    row = {"path": "/usr/bin/containerd", "version": "1.7.24", "unit": "/lib/systemd/system/containerd.service"}
    facts = {"kubesmith": {"foreign": {"containerd": row | {"package": "containerd.io"}}}}
    results = [answer("node_facts", ansible_facts=facts), answer("node_facts", ansible_facts=facts)]
    said = "containerd 1.7.24 is /usr/bin/containerd, of the package containerd.io, started by " + row["unit"]
    told = {mode: [notice.text for notice in notices(results, mode, BUNDLE)] for mode in ("keep", "replace", None)}
    assert told["keep"] == [f"{said}: it stays (adopted: keep)"]
    assert told["replace"] == [
        f"{said}: containerd 2.4.2 in /usr/local/bin/containerd takes its place (adopted: replace)"
    ]
    assert told[None][0].endswith("up refuses it until the cluster file says adopted: keep, or replace")
