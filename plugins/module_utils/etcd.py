# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""etcd's members, and which of them may be taken away."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any, Optional

from ansible_collections.kubesmith.cluster.plugins.module_utils.kubeadm import PKI
from ansible_collections.kubesmith.cluster.plugins.module_utils.process import CommandError, run

ETCDCTL = "/usr/local/bin/etcdctl"
KEYS = (
    f"--cacert={PKI}/etcd/ca.crt",
    f"--cert={PKI}/etcd/healthcheck-client.crt",
    f"--key={PKI}/etcd/healthcheck-client.key",
)
LOCAL = "https://127.0.0.1:2379"


class Member:
    """A member of etcd: its number, its name ("" before it has started for the first time), where it is reached."""

    def __init__(self, row: dict[str, Any]) -> None:
        self.number = int(row["ID"])
        self.name = str(row.get("name", ""))
        self.peers = [str(url) for url in row.get("peerURLs", ())]
        self.clients = [str(url) for url in row.get("clientURLs", ())]
        self.learner = bool(row.get("isLearner"))

    def belongs_to(self, name: str, address: str) -> bool:
        """Tell whether it is that of a node; one that never started is known by its address only."""
        return self.name == name or (bool(address) and any(_host(url) == address for url in self.peers))


def _host(url: str) -> str:
    return url.rpartition("//")[2].rpartition(":")[0].strip("[]")


def quorum(members: int) -> int:
    """Return how many of ``members`` must agree."""
    return members // 2 + 1


def refusal(members: Sequence[Member], healthy: Collection[int], gone: Member) -> str:
    """Return why a member may not be taken away, "" if it may.

    ``healthy`` are the numbers of those that answer. The cluster must be able to decide on the removal, and to decide
    anything afterwards.
    """
    voters = [member for member in members if not member.learner]
    alive = [member for member in voters if member.number in healthy]
    if len(alive) < quorum(len(voters)):
        return (
            f"{len(alive)} of {len(voters)} members of etcd answer ({_names(alive)}), and {quorum(len(voters))} are "
            "needed to change anything"
        )
    left = [member for member in voters if member.number != gone.number]
    alive = [member for member in left if member.number in healthy]
    if not left:
        return f"{gone.name or 'it'} is the only member of etcd, which holds all of the cluster's data"
    if len(alive) < quorum(len(left)):
        return (
            f"without {gone.name or 'it'} etcd has {len(left)} members, of which {len(alive)} answer "
            f"({_names(alive)}); {quorum(len(left))} are needed"
        )
    return ""


def _names(members: Sequence[Member]) -> str:
    return ", ".join(sorted(member.name for member in members)) or "none"


def ctl(*arguments: str, endpoints: Sequence[str] = (LOCAL,), timeout: float = 30) -> Any:
    """Return etcdctl's JSON answer; CommandError with what it said. A failed health check answers all the same."""
    command = [ETCDCTL, f"--endpoints={','.join(endpoints)}", *KEYS, "--write-out=json", *arguments]
    result = run(command, timeout=timeout)
    try:
        return json.loads(result.out)
    except ValueError:
        said = result.err.strip().splitlines() or [f"return code {result.rc}"]
        raise CommandError(f"etcdctl {' '.join(arguments)}: {said[-1]}") from None


def members() -> list[Member]:
    """Return the members, as the one on this node knows them."""
    return [Member(row) for row in ctl("member", "list")["members"]]


def healthy(found: Sequence[Member]) -> set[int]:
    """Return the numbers of the members that answer."""
    urls = {url: member.number for member in found for url in member.clients}
    if not urls:
        return set()
    rows = ctl("endpoint", "health", "--command-timeout=5s", endpoints=list(urls), timeout=60)
    return {urls[row["endpoint"]] for row in rows if row.get("health") and row["endpoint"] in urls}


def find(found: Sequence[Member], name: str, address: str) -> Optional[Member]:
    """Return the member of a node, None if it has none."""
    return next((member for member in found if member.belongs_to(name, address)), None)


def remove(member: Member) -> None:
    """Take a member away."""
    ctl("member", "remove", f"{member.number:x}")
