"""Clusters of thousands of nodes: what is done before the first connection grows with them and no faster."""

from __future__ import annotations

import time
from collections.abc import Callable

from ansible_collections.kubesmith.cluster.plugins.plugin_utils import inventory, load, spec


def cluster_file(workers: int) -> bytes:
    head = "cluster: {name: big}\nprovider: ssh\nnetwork: {pods: 10.128.0.0/9}\nnodes:\n"
    plane = "  - {name: cp1, role: control-plane, address: 172.16.0.1}\n"
    rows = (
        f"  - {{name: w{n}, address: 172.17.{n // 250}.{n % 250 + 1}, labels: {{rack: r{n % 40}}}}}\n"
        for n in range(workers)
    )
    return (head + plane + "".join(rows)).encode()


def whole(content: bytes) -> inventory.Inventory:
    return inventory.build(spec.check(load.parse(content, "f"), "f"), [], state="/s", bundle="/b")


def processor_seconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def test_ten_times_the_nodes_cost_about_ten_times_as_much() -> None:
    """Quadratic work would cost a hundred times as much; the ratio is taken in one run, on this machine."""
    few, many = cluster_file(500), cluster_file(5000)
    one = min(processor_seconds(lambda: whole(few)) for _turn in range(3))
    ten = min(processor_seconds(lambda: whole(many)) for _turn in range(2))
    assert ten / one < 25


def test_no_variable_of_a_node_grows_with_the_cluster() -> None:
    sizes = [
        max(len(str(variables)) for variables in (built.variables, *built.hosts.values()))
        for built in (whole(cluster_file(count)) for count in (10, 2000))
    ]
    assert sizes[1] - sizes[0] < 20, "names get longer, and nothing else"
