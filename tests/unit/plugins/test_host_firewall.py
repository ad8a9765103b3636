"""The firewall's table as text; SSH's ports are found; the module brings in, confirms, and removes."""

import os

import pytest
from ansible_collections.kubesmith.cluster.plugins.module_utils import host_firewall
from ansible_collections.kubesmith.cluster.plugins.module_utils.process import CommandError, Result
from ansible_collections.kubesmith.cluster.plugins.modules import host_firewall as module


def rule(protocol="tcp", ports="10250", sources=(), anybody=False):
    return {"protocol": protocol, "ports": ports, "sources": list(sources), "anybody": anybody, "why": ""}


@pytest.mark.parametrize(
    ("given", "lines"),
    [
        (rule(anybody=True), ["tcp dport { 10250 } accept"]),
        (
            rule(sources=["10.0.0.1", "10.244.0.0/16"]),
            ["ip saddr { 10.0.0.1, 10.244.0.0/16 } tcp dport { 10250 } accept"],
        ),
        (
            rule("udp", "4789", ["10.0.0.1", "fd00::1"]),
            ["ip saddr { 10.0.0.1 } udp dport { 4789 } accept", "ip6 saddr { fd00::1 } udp dport { 4789 } accept"],
        ),
        (rule("112", "", ["10.0.0.1"]), ["ip saddr { 10.0.0.1 } meta l4proto 112 accept"]),
        (rule(sources=[]), []),  # nobody to let in is nobody, not everybody
    ],
)
def test_lines_of_a_rule(given, lines):
    assert host_firewall.accepted(given) == lines


def test_the_table_replaces_itself_only_and_rejects_in_the_end():
    text = host_firewall.text([rule(anybody=True)], [2222, 22])
    assert "flush" not in text
    assert text.startswith(f"table {host_firewall.TABLE}\ndelete table {host_firewall.TABLE}\n")
    rows = [line.strip() for line in text.splitlines()]
    assert "tcp dport { 22, 2222 } accept" in rows
    assert rows.index("counter reject with icmpx admin-prohibited") > rows.index("tcp dport { 10250 } accept")


def of_nodes(*sources, name="control planes"):
    return rule(sources=sources) | {"set": name}


def test_sources_with_a_name_are_a_set_that_rules_share():
    text = host_firewall.text([of_nodes("10.0.0.1", "fd00::1"), of_nodes("10.0.0.1", "fd00::1")], [22])
    assert text.count("elements = { 10.0.0.1 }") == text.count("elements = { fd00::1 }") == 1
    assert text.count("ip saddr @control-planes-ip tcp dport { 10250 } accept") == 2
    assert "ip6 saddr @control-planes-ip6 tcp" in text
    assert "flags interval" not in text
    assert "    flags interval\n" in host_firewall.text([of_nodes("10.244.0.0/16", name="pods")], [22])


def test_what_differs_in_members_alone_is_told():
    one, two = (host_firewall.text([of_nodes("10.0.0.1", *more)], [22]) for more in ((), ("10.0.0.2",)))
    assert one != two
    assert host_firewall.same_but_members(one, two)
    assert not host_firewall.same_but_members(one, host_firewall.text([of_nodes("10.0.0.1", "fd00::1")], [22]))
    assert not host_firewall.same_but_members(one, host_firewall.text([of_nodes("10.0.0.1")], [22, 23]))


def process(root, number, parent, environment):
    folder = root / "proc" / str(number)
    folder.mkdir(parents=True)
    (folder / "environ").write_bytes(environment)
    (folder / "status").write_text(f"Name:\tx\nPPid:\t{parent}\n")


def test_the_port_of_this_connection_is_found_above_sudo(tmp_path, monkeypatch):
    monkeypatch.setattr(host_firewall, "_configured", set)
    process(tmp_path, 30, 20, b"PATH=/bin\0")  # sudo cleans the environment
    process(tmp_path, 20, 1, b"A=1\0SSH_CONNECTION=10.0.0.9 5000 10.0.0.1 2200\0B=2\0")
    assert host_firewall.ssh_ports(30, str(tmp_path)) == [22, 2200]


def test_the_ports_of_sshd_are_open(monkeypatch):
    monkeypatch.setattr(host_firewall.shutil, "which", lambda *_args, **_more: "/usr/sbin/sshd")
    said = Result(0, "port 22\nport 2022\nportsomething 9\n", "")
    monkeypatch.setattr(host_firewall, "run", lambda *_args, **_more: said)
    assert host_firewall.ssh_ports(os.getpid(), "/nowhere") == [22, 2022]


def test_a_node_without_nft_is_told_what_to_do(monkeypatch):
    monkeypatch.setattr(host_firewall.shutil, "which", lambda *_args, **_more: None)
    with pytest.raises(CommandError, match="install nftables"):
        host_firewall.nft()


@pytest.fixture
def node(monkeypatch):
    """Return a node: its live table, whether that is armed and kept, and what was done."""
    state = {"live": None, "armed": False, "kept": None, "done": []}

    def apply(text, undo_after):
        state.update(live=text, armed=bool(undo_after))
        state["done"].append(f"apply {undo_after}")

    def keep(text):
        state["kept"] = text
        state["done"].append("keep")

    def exchange(rules):
        state["live"] = host_firewall.text(rules, [22])
        state["done"].append("exchange")

    monkeypatch.setattr(host_firewall, "exchange_members", exchange)
    monkeypatch.setattr(host_firewall, "ssh_ports", lambda: [22])
    monkeypatch.setattr(host_firewall, "live", lambda: state["live"])
    monkeypatch.setattr(host_firewall, "canonical", lambda text: text)
    monkeypatch.setattr(host_firewall, "apply", apply)
    monkeypatch.setattr(host_firewall, "armed", lambda: state["armed"])
    monkeypatch.setattr(host_firewall, "disarm", lambda: state.update(armed=False))
    monkeypatch.setattr(host_firewall, "kept", lambda text: state["kept"] == text)
    monkeypatch.setattr(host_firewall, "keep", keep)
    return state


def call(state="present", rules=(), check_mode=False):
    return module.work({"state": state, "rules": list(rules), "undo_after": 60}, check_mode)


def test_a_table_goes_by_itself_unless_it_is_confirmed(node):
    assert call()["changed"] is True
    assert node["armed"] is True
    assert call("confirmed")["actions"] == ["have the firewall stay, and come back at boot"]
    assert node["armed"] is False
    assert (call()["changed"], call("confirmed")["changed"]) == (False, False)
    assert node["done"] == ["apply 60", "keep"]


def test_a_table_that_somebody_changed_is_put_right(node):
    call()
    call("confirmed")
    node["live"] = "something else"
    answer = call()
    assert answer["actions"] == ["change the firewall"]
    assert answer["diff"][0]["before"] == "something else"


def test_check_mode_does_nothing(node):
    assert call(check_mode=True)["changed"] is True
    assert call("confirmed", check_mode=True)["changed"] is True
    assert node["done"] == []


def test_a_new_node_is_let_in_without_a_rule_being_touched(node):
    before, after = [of_nodes("10.0.0.1")], [of_nodes("10.0.0.1", "10.0.0.2")]
    call(rules=before)
    call("confirmed", before)
    node["done"].clear()
    assert call("members", before)["changed"] is False
    assert call("members", after, check_mode=True)["changed"] is True
    assert node["done"] == []
    assert call("members", after)["actions"] == ["change whom the firewall lets in"]
    assert node["done"] == ["exchange", "keep"]
    assert (call(rules=after)["changed"], call("confirmed", after)["changed"]) == (False, False)


def test_a_firewall_that_is_not_there_or_differs_in_more_is_left_alone(node):
    assert call("members", [of_nodes("10.0.0.1")])["changed"] is False
    call(rules=[of_nodes("10.0.0.1")])
    call("confirmed", [of_nodes("10.0.0.1")])
    with pytest.raises(CommandError, match="left alone"):
        call("members", [of_nodes("10.0.0.2"), rule(anybody=True)])
    assert node["done"] == ["apply 60", "keep"]
