# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The rules that kube-proxy, the kubelet, Calico and the CNI plugins put into a node's firewall, told from all others.

Chains of both kinds of iptables, tables of nftables, and sets. Rules that are not theirs are never rewritten: the
commands name each rule and chain that goes.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping
from typing import Any, Optional

from ansible_collections.kubesmith.cluster.plugins.module_utils.process import must, run

TOOLS = ("iptables-nft", "iptables-legacy", "ip6tables-nft", "ip6tables-legacy")
PLAIN = ("iptables", "ip6tables")  # systems with one kind of iptables give it no other name
OURS = re.compile(r"(KUBE-|cali-|cali[46]0|CNI-HOSTPORT-|CNI-DN-|CNI-SN-)")
TABLES = re.compile(r"(kube-proxy|calico)$")
SETS = re.compile(r"cali[46]0")
IPTABLES_TABLES = ("filter", "nat", "mangle", "raw", "security")
Saved = dict[str, dict[str, list[str]]]


def look() -> dict[str, Any]:
    """Return what there is on this machine.

    That is chains ({tool: {table: [chain]}}), tables ([family name]), hooks ([family table chain]) and sets ([name]).
    """
    saved = {tool: parse(text) for tool, text in save().items()}
    chains = {tool: {table: list(rows) for table, rows in found.items()} for tool, found in saved.items()}
    return {"chains": chains, "tables": tables(), "hooks": hooks(), "sets": sets()}


def save() -> dict[str, str]:
    """Return {tool: its rules, as iptables-save prints them} of every iptables that is installed."""
    said = {tool: run([f"{tool}-save"], timeout=30) for tool in TOOLS}
    if all(result.rc == 127 for result in said.values()):
        said = {tool: run([f"{tool}-save"], timeout=30) for tool in PLAIN}
    return {tool: result.out for tool, result in said.items() if result.rc == 0}


def parse(text: str) -> Saved:
    """Return {table: {chain: [rule without its chain]}} of iptables-save's words."""
    found: Saved = {}
    table: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line.startswith("*"):
            table = found.setdefault(line[1:].strip(), {})
        elif line.startswith(":"):
            table[line[1:].split()[0]] = []
        elif line.startswith("-A "):
            chain, _space, rule = line[3:].partition(" ")
            table.setdefault(chain, []).append(rule)
    return found


def removal(saved: Saved, before: Mapping[str, Container[str]]) -> str:
    """Return what iptables-restore --noflush is to do so that our chains, and rules that lead to them, are gone.

    ``before`` is {table: chains that were there before}: those stay whatever their name. Empty where there is nothing.
    """
    script = []
    for table, chains in saved.items():
        gone = [name for name in chains if OURS.match(name) and name not in before.get(table, ())]
        rules = [
            f"-D {chain} {rule}"
            for chain, rows in chains.items()
            if chain not in gone
            for rule in rows
            if _leads_to(rule, gone)
        ]
        if gone or rules:
            verbs = [f"-{verb} {name}" for verb in "FX" for name in gone]
            script += [f"*{table}", *rules, *verbs, "COMMIT"]
    return "".join(f"{line}\n" for line in script)


def _leads_to(rule: str, chains: Container[str]) -> bool:
    """Tell whether a rule is Calico's own, by its mark in the comment, or jumps to one of ``chains``."""
    target = re.search(r"(?:^| )-[jg] (\S+)", rule)
    return '"cali:' in rule or "--comment cali:" in rule or bool(target and target.group(1) in chains)


def carry_out(tool: str, script: str) -> None:
    """Carry out what ``removal`` returned, all of it or nothing."""
    must([f"{tool}-restore", "--noflush"], stdin=script, timeout=60)


def tables() -> list[str]:
    """Return the tables of nftables as ``family name``."""
    said = run(["nft", "list", "tables"], timeout=30)
    return sorted(line[6:].strip() for line in said.out.splitlines() if line.startswith("table "))


def hooks() -> list[str]:
    """Return the chains in iptables' tables of nftables as ``family table chain``."""
    found, table = [], ""
    for line in run(["nft", "list", "chains"], timeout=30).out.splitlines():
        words = line.split()
        if words[:1] == ["table"]:
            table = " ".join(words[1:3])
        elif words[:1] == ["chain"] and _of_iptables(table):
            found.append(f"{table} {words[1]}")
    return found


def unused(before: Container[str], now: Iterable[str]) -> list[str]:
    """Return those of iptables' own chains that were not there before and let everything pass: a rule brought them."""
    new = [name for name in now if name not in before and name.split()[2].isupper()]
    return [name for name in new if is_empty(_said(["nft", "list", "chain", *name.split()]))]


def delete_chain(name: str) -> None:
    """Delete a chain of nftables."""
    must(["nft", "delete", "chain", *name.split()], timeout=30)


def superfluous(before: Container[str], now: Iterable[str]) -> list[str]:
    """Return tables that are ours, and those of iptables in which nothing is left and which were not there before."""
    ours = [name for name in now if name not in before]
    return [name for name in ours if TABLES.search(name) or (_of_iptables(name) and is_empty(listing(name)))]


def _of_iptables(name: str) -> bool:
    family, _space, table = name.partition(" ")
    return family in ("ip", "ip6") and table in IPTABLES_TABLES


def listing(table: str) -> Optional[str]:
    """Return what nft lists of a table, None where it cannot."""
    return _said(["nft", "list", "table", *table.split()])


def _said(command: list[str]) -> Optional[str]:
    said = run(command, timeout=30)
    return said.out if said.rc == 0 else None


def is_empty(text: Optional[str]) -> bool:
    """Tell whether a table's listing has hooks that let everything pass, and nothing else."""
    rows = [line.strip() for line in (text or "").splitlines() if not line.startswith("#")]
    return bool(rows) and all(re.match(r"(table |chain |}$|$|type .* policy accept;)", row) for row in rows)


def delete_table(name: str) -> None:
    """Delete a table of nftables with all that is in it."""
    must(["nft", "delete", "table", *name.split()], timeout=30)


def sets() -> list[str]:
    """Return the names of ipset's sets; none where ipset is not installed."""
    return run(["ipset", "list", "-name"], timeout=30).out.split()
