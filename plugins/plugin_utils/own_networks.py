# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The networks that the machine which runs us is in: pods and services must not have their addresses."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from ipaddress import IPv4Interface, IPv4Network

# A controller that is a node itself has its own pods' addresses on these.
OF_PODS = re.compile(r"lo$|cali|vxlan|tunl|kube-|flannel|cilium|cni0$")


def own_networks() -> dict[str, IPv4Network]:
    """Return {interface: network}; nothing where there is no ``ip`` (another system than Linux) or it fails."""
    if not shutil.which("ip"):
        return {}
    done = subprocess.run(["ip", "-json", "-4", "address"], capture_output=True, text=True, check=False, timeout=10)
    return networks(done.stdout) if done.returncode == 0 else {}


def networks(listing: str) -> dict[str, IPv4Network]:
    """Return {interface: network} of what ``ip -json -4 address`` prints."""
    return {
        row["ifname"]: IPv4Interface(f"{address['local']}/{address['prefixlen']}").network
        for row in json.loads(listing or "[]")
        if row.get("ifname") and not OF_PODS.match(row["ifname"])
        for address in row["addr_info"]
    }
