"""The tours, in the order in which they are best taken."""

from __future__ import annotations

from collections.abc import Mapping

from kubesmith.tour.frame import Tour
from kubesmith.tour.tours import access, certificate, components, names, network, node, pod_flow, store, teaching

TOURS: Mapping[str, Tour] = {
    tour.name: tour
    for tour in (
        Tour("pod-flow", pod_flow.take, "flow", 25, audit=True),
        Tour("naming", names.take, "flow", 25, worker=False),
        Tour("placement", teaching.placement, "teaching", 30),
        Tour("drain", teaching.drain, "teaching", 40),
        Tour("rollout", teaching.rollout, "teaching", 50, worker=False),
        Tour("network-path", network.take, "teaching", 40, worker=False),
        Tour("rbac", access.take, "teaching", 15, worker=False, audit=True),
        Tour("kubelet-stopped", node.kubelet, "failure", 110),
        Tour("kube-proxy-rules", node.kube_proxy, "failure", 40),
        Tour("scheduler-absent", components.scheduler, "failure", 60, worker=False),
        Tour("controller-manager-absent", components.controller_manager, "failure", 70, worker=False),
        Tour("api-server-absent", components.api_server, "failure", 70),
        Tour("etcd-restore", store.take, "failure", 90),
        Tour("containerd-stopped", node.containerd, "failure", 80),
        Tour("cni-removed", node.cni, "failure", 50),
        Tour("certificate-expired", certificate.take, "failure", 90, worker=False),
        Tour("node-power-off", node.power, "failure", 140, power=True),
    )
}
