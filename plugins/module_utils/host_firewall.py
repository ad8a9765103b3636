# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""A node's own firewall: one table of nftables, beside all others and never instead of them.

Only what comes to the node itself is judged. What accepts here may still be dropped by another table; what is rejected
here is rejected. Rules are brought in whole or not at all, and go by themselves unless a new connection confirms them.
"""

from __future__ import annotations

import ipaddress
import os
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

from ansible_collections.kubesmith.cluster.plugins.module_utils import before, files, systemd
from ansible_collections.kubesmith.cluster.plugins.module_utils.process import CommandError, must, run

TABLE = "inet kubesmith-firewall"
FILE = "/etc/kubesmith/firewall.nft"
UNIT = "kubesmith-firewall.service"
UNIT_FILE = f"/etc/systemd/system/{UNIT}"
UNDO = "kubesmith-firewall-undo"
PATHS = (FILE, UNIT_FILE)
Rule = Mapping[str, Any]
UNIT_TEXT = """\
# Managed by kubesmith.
[Unit]
Description=Firewall of this node (kubesmith)
DefaultDependencies=no
Wants=network-pre.target
Before=network-pre.target shutdown.target
After=local-fs.target nftables.service
Conflicts=shutdown.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={nft} -f {file}
ExecStop=-{nft} delete table {table}

[Install]
WantedBy=multi-user.target
"""


def nft() -> str:
    """Return the path of nft; CommandError where it is not installed."""
    found = shutil.which("nft", path="/usr/sbin:/sbin:/usr/bin:/usr/local/sbin")
    if found is None:
        raise CommandError("the firewall needs the program nft, which this node does not have: install nftables")
    return found


def ssh_ports(pid: Optional[int] = None, root: str = "/") -> list[int]:
    """Return the ports by which SSH comes in: that of this very connection, and those that sshd is configured for."""
    found = {22} | _configured()
    number = os.getpid() if pid is None else pid
    while number > 1:
        try:
            environment = Path(f"{root}/proc/{number}/environ").read_bytes()
            status = Path(f"{root}/proc/{number}/status").read_text(encoding="utf-8")
        except OSError:
            break
        seen = re.search(rb"(?:^|\0)SSH_CONNECTION=\S+ \d+ \S+ (\d+)\0", environment + b"\0")
        found |= {int(seen.group(1))} if seen else set()
        parent = re.search(r"^PPid:\s+(\d+)", status, re.MULTILINE)
        number = int(parent.group(1)) if parent else 0
    return sorted(found)


def _configured() -> set[int]:
    sshd = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/sbin")
    said = run([sshd, "-T"], timeout=20).out if sshd else ""
    return {int(port) for port in re.findall(r"^port (\d+)$", said, re.MULTILINE)}


def text(rules: Sequence[Rule], ssh: Iterable[int]) -> str:
    """Return the whole table as nft reads it; it takes the place of an older one in one step."""
    lines = [
        *(f"table {TABLE}", f"delete table {TABLE}", f"table {TABLE} {{"),
        *(line for name, members in sets(rules).items() for line in declared(name, members)),
        "  chain input {",
        "    type filter hook input priority filter - 10; policy accept;",
        "    ct state established,related accept",
        '    iif "lo" accept',
        "    meta l4proto { icmp, ipv6-icmp } accept",
        "    udp dport { 68, 546 } accept",
        f"    tcp dport {{ {', '.join(map(str, sorted(ssh)))} }} accept",
        *(f"    {line}" for rule in rules for line in accepted(rule)),
        "    counter reject with icmpx admin-prohibited",
        *("  }", "}"),
    ]
    return "".join(f"{line}\n" for line in lines)


def accepted(rule: Rule) -> list[str]:
    """Return the lines of one rule: one for IPv4 and one for IPv6 sources, or one for everybody."""
    protocol, ports = rule["protocol"], rule["ports"]
    match = f"{protocol} dport {{ {ports} }}" if ports else f"meta l4proto {protocol}"
    if rule["anybody"]:
        return [f"{match} accept"]
    lines = []
    for family, named in by_family(rule["sources"]).items():
        where = f"@{set_name(rule['set'], family)}" if rule.get("set") else f"{{ {', '.join(named)} }}"
        lines.append(f"{family} saddr {where} {match} accept")
    return lines


def by_family(sources: Iterable[str]) -> dict[str, list[str]]:
    """Return {ip or ip6: its addresses and networks}; a family without any is left out."""
    found: dict[str, list[str]] = {}
    for network in (ipaddress.ip_network(source) for source in sources):
        found.setdefault("ip" if network.version == 4 else "ip6", []).append(short(str(network)))
    return {family: found[family] for family in ("ip", "ip6") if family in found}


def short(network: str) -> str:
    """Return a network of one address without its length, as nft lists it."""
    address, _slash, length = network.partition("/")
    return address if length in ("32", "128") else network


def set_name(name: str, family: str) -> str:
    """Return what a set of one family is called in the table."""
    return f"{name.replace(' ', '-')}-{family}"


def sets(rules: Iterable[Rule]) -> dict[str, list[str]]:
    """Return {name in the table: members} of the sets that rules name: who is let in can change without the rules."""
    sources: dict[str, set[str]] = {}
    for rule in rules:
        if rule.get("set") and not rule["anybody"]:
            sources.setdefault(rule["set"], set()).update(rule["sources"])
    return {
        set_name(name, family): members
        for name, found in sources.items()
        for family, members in by_family(sorted(found)).items()
    }


def declared(name: str, members: Sequence[str]) -> list[str]:
    """Return the lines that make a set."""
    kind = "ipv6_addr" if name.endswith("-ip6") else "ipv4_addr"
    ranges = ["    flags interval"] if any("/" in member for member in members) else []
    return [f"  set {name} {{", f"    type {kind}", *ranges, f"    elements = {{ {', '.join(members)} }}", "  }"]


def same_but_members(one: str, other: str) -> bool:
    """Tell whether two listings of the table differ in nothing but who is in its sets."""
    first, second = (re.sub(r"\n\s*elements = \{[^}]*\}", "", listing) for listing in (one, other))
    return first == second


def exchange_members(rules: Iterable[Rule]) -> None:
    """Have the sets of the live table hold the sources of these rules, in one step; no rule is touched."""
    script = ""
    for name, members in sets(rules).items():
        script += f"flush set {TABLE} {name}\nadd element {TABLE} {name} {{ {', '.join(members)} }}\n"
    must([nft(), "-f", "-"], stdin=script, timeout=30)


def live() -> Optional[str]:
    """Return the table as the kernel has it, without counters; None where there is none."""
    said = run([nft(), "--stateless", "list", "table", *TABLE.split()], timeout=30)
    return said.out if said.rc == 0 else None


def canonical(wanted: str) -> str:
    """Return how nft would list this table: read in a network of its own, where it does nothing."""
    script = f"{nft()} -f - && {nft()} --stateless list table {TABLE}"
    return must(["unshare", "--net", "sh", "-c", script], stdin=wanted, timeout=30)


def apply(wanted: str, undo_after: int) -> None:
    """Bring in the table, to go by itself after so many seconds unless it is confirmed."""
    disarm()
    if undo_after:
        timer = ["systemd-run", f"--unit={UNDO}", f"--on-active={undo_after}", "--timer-property=AccuracySec=1s"]
        must([*timer, nft(), "delete", "table", *TABLE.split()], timeout=30)
    must([nft(), "-f", "-"], stdin=wanted, timeout=30)


def disarm() -> None:
    """Stop the timer that would take the table away."""
    run(["systemctl", "stop", f"{UNDO}.timer"], timeout=30)
    run(["systemctl", "reset-failed", f"{UNDO}.service", f"{UNDO}.timer"], timeout=30)


def armed() -> bool:
    """Tell whether the table is to go by itself."""
    return systemd.properties(f"{UNDO}.timer")["ActiveState"] == "active"


def unit_text() -> str:
    """Return the unit that brings the table in at boot, before the network is up."""
    return UNIT_TEXT.format(nft=nft(), file=FILE, table=TABLE)


def kept(wanted: str) -> bool:
    """Tell whether the table comes back at boot."""
    state = systemd.properties(UNIT)
    right = files.read(FILE) == wanted and files.read(UNIT_FILE) == unit_text()
    return right and state["UnitFileState"] == "enabled" and state["ActiveState"] == "active"


def keep(wanted: str) -> None:
    """Have the table come back at boot."""
    before.note(PATHS)
    files.put(FILE, wanted, 0o600)
    files.put(UNIT_FILE, unit_text(), 0o644)
    must(["systemctl", "daemon-reload"], timeout=60)
    must(["systemctl", "enable", UNIT], timeout=60)
    must(["systemctl", "start", UNIT], timeout=60)  # the same table once more, in one step


def is_there() -> bool:
    """Tell whether anything of the firewall is on this node."""
    return any(Path(path).exists() for path in PATHS) or (shutil.which("nft") is not None and live() is not None)


def remove() -> None:
    """Take the firewall off this node."""
    disarm()
    if Path(UNIT_FILE).exists():
        run(["systemctl", "disable", "--now", UNIT], timeout=60)
    if live() is not None:
        must([nft(), "delete", "table", *TABLE.split()], timeout=30)
    for path in PATHS:
        files.remove(path)
    if Path(FILE).parent.is_dir() and not any(Path(FILE).parent.iterdir()):
        Path(FILE).parent.rmdir()
    must(["systemctl", "daemon-reload"], timeout=60)
