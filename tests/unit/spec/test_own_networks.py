"""Which networks of the controller count as its own."""

import json
from ipaddress import IPv4Network

from ansible_collections.kubesmith.cluster.plugins.plugin_utils.own_networks import networks


def test_interfaces_of_pods_and_the_loopback_do_not_count():
    rows = [
        {"ifname": name, "addr_info": [{"local": address, "prefixlen": prefix}]}
        for name, address, prefix in (
            ("lo", "127.0.0.1", 8),
            ("eth0", "192.0.2.2", 24),
            ("vxlan.calico", "10.244.3.0", 32),
            ("cali12", "169.254.1.1", 32),
        )
    ]
    assert networks(json.dumps([*rows, {}])) == {"eth0": IPv4Network("192.0.2.0/24")}
    assert networks("") == {}
