"""I: does the cluster do for its users what they came for?"""

BAD = ("CrashLoopBackOff", "ImagePullBackOff", "ErrImagePull", "CreateContainerError", "CreateContainerConfigError")


def _name(pod):
    return f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"


def _containers(pod):
    return pod["status"].get("containerStatuses", []) + pod["status"].get("initContainerStatuses", [])


def test_no_pod_is_pending(cluster):
    """I1: no pod anywhere is Pending"""
    assert [_name(pod) for pod in cluster.of_kind("Pod") if pod["status"]["phase"] == "Pending"] == []


def test_system_pods_are_ready(cluster):
    """I2: every pod of kube-system is Running and Ready"""
    pods = [pod for pod in cluster.of_kind("Pod") if pod["metadata"]["namespace"] == "kube-system"]
    ready = {"type": "Ready", "status": "True"}
    unready = [
        _name(pod)
        for pod in pods
        if pod["status"]["phase"] != "Running"
        or not any(ready.items() <= condition.items() for condition in pod["status"].get("conditions", []))
    ]
    assert pods != []
    assert unready == []


def test_no_container_is_stuck(cluster):
    """I2: no container anywhere fails again and again, and none lacks its image"""
    stuck = {
        f"{_name(pod)}/{container['name']}": container["state"]["waiting"]["reason"]
        for pod in cluster.of_kind("Pod")
        for container in _containers(pod)
        if container["state"].get("waiting", {}).get("reason") in BAD
    }
    assert stuck == {}


def test_no_container_is_restarted_meanwhile(cluster, later):
    """I2: no container of kube-system is restarted while the proofs run"""
    before = {
        f"{pod['metadata']['name']}/{container['name']}": container["restartCount"]
        for pod in cluster.of_kind("Pod")
        for container in pod["status"].get("containerStatuses", [])
    }
    assert {name: count for name, count in later["restarts"].items() if count > before.get(name, count)} == {}


def test_deployment_spreads(cluster, workload):
    """I3: a deployment's pods become Ready, on different workers"""
    wanted = min(max(len(cluster.healthy_workers), 1), 3)
    assert len(set(workload["spread"]["nodes"])) == wanted, "; ".join(workload["spread"]["states"])


def test_logs_can_be_read(node, cluster, workload):
    """I4: a pod's log can be read from this node"""
    cluster.require_kubelet(node.name)
    assert workload[f"logs {node}"] is True


def test_files_can_be_copied(cluster, workload):
    """I4: kubectl cp brings a file into a pod and back"""
    assert workload["copy"] == cluster.word


def test_port_can_be_forwarded(cluster, workload):
    """I4: kubectl port-forward reaches a pod"""
    assert workload["port_forward"] in [pod["name"] for pod in cluster.probe["pods"].values()]


def test_rollout_can_be_undone(workload):
    """I5: a rollout that cannot succeed takes no pod away, and undoing it restores the image"""
    seen = workload["rollout"]
    assert seen["between"] != seen["before"]
    assert seen["serving_in_between"] > 0
    assert seen["after"] == seen["before"]


def test_killed_pod_is_replaced(workload):
    """I6: a deployment replaces a pod that is killed"""
    seen = workload["replacement"]
    assert seen["after"] != []
    assert seen["killed"] not in seen["after"]


def test_daemon_set_has_a_pod_on_this_node(node, cluster, probe):
    """I7: a daemon set's pod becomes Ready on this node"""
    cluster.require_kubelet(node.name)
    pod = probe.get(node.name, {"ready": False, "state": "no pod was created for this node"})
    assert pod["ready"] is True, pod["state"]


def test_job_completes(workload):
    """I8: a job runs to its end"""
    assert workload["job"] == "Complete"


def test_pod_reads_what_it_is_given(node, cluster, workload):
    """I9: kubectl exec, in a pod on this node, reads its ConfigMap, its Secret and its token"""
    cluster.require_kubelet(node.name)
    assert workload[f"files {node}"] == {"config_map": cluster.word, "secret": cluster.word, "token": "token"}
