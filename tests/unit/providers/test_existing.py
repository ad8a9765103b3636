"""What ssh says of machines that exist already, and what we make of it."""

from pathlib import Path

import pytest
from ansible_collections.kubesmith.cluster.plugins.plugin_utils.inventory import build
from ansible_collections.kubesmith.cluster.plugins.plugin_utils.load import parse
from ansible_collections.kubesmith.cluster.plugins.plugin_utils.spec import Spec, check

from kubesmith.errors import InputError
from kubesmith.providers import existing
from kubesmith.providers.existing import Way

FILE = b"""
cluster: {name: m}
provider: ssh
access: {user: admin, port: 2222, bastion: me@gate, key: ~/k, known_hosts: /h}
nodes: [{name: cp1, role: control-plane, address: 10.9.0.1}, {name: w1, address: 10.9.0.2}]
"""
CHANGED = "@  WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!  @\nHost key verification failed.\n"


def spec() -> Spec:
    return check(parse(FILE, "f"), "f")


def way(sockets: str = "") -> Way:
    hosts = build(spec(), [], state="/s", bundle="", sockets=sockets).hosts
    return Way("w1", hosts["w1"])


@pytest.mark.parametrize(
    ("said", "problem", "password"),
    [
        (CHANGED, "not the one that is known", False),
        ("No ED25519 host key is known for 10.9.0.2 and you have requested strict checking.\n", "not known", False),
        ("admin@10.9.0.2: Permission denied (publickey,password).\n", "does not let admin in", True),
        ("ssh: connect to host 10.9.0.2 port 2222: No route to host\n", "does not answer", False),
        ("ssh: connect to host 10.9.0.2 port 2222: Connection timed out\n", "does not answer", False),
        (
            "ssh: connect to host gate port 22: Connection refused\n"
            "kex_exchange_identification: Connection closed by remote host\n",
            "the bastion me@gate does not lead to it: ssh: connect to host gate port 22: Connection refused",
            False,
        ),
        (
            "me@gate: Permission denied (publickey).\nConnection closed by UNKNOWN port 65535\n",
            "the bastion me@gate does not lead to it: me@gate: Permission denied (publickey).",
            False,
        ),
        ("kex_exchange_identification: Connection closed by remote host\n", "it closes the connection", False),
    ],
)
def test_what_ssh_says_is_told_in_one_sentence(said: str, problem: str, password: bool) -> None:
    answer = way()._trouble(said)
    assert problem in answer.problem
    assert "\n" not in answer.problem
    assert answer.wants_ssh_password is password
    assert answer.fix


def test_the_commands_that_are_told_are_whole() -> None:
    unknown = way()._trouble("Host key verification failed.\n")
    assert "ssh -o UserKnownHostsFile=/h -J me@gate -i " in unknown.fix
    assert unknown.fix.endswith("-p 2222 admin@10.9.0.2")
    assert "ssh-keygen -f /h -R '[10.9.0.2]:2222'" in way()._trouble(CHANGED).fix


def test_the_way_has_user_port_key_and_bastion() -> None:
    command = way().command()
    assert command[-1] == "admin@10.9.0.2"
    assert command[command.index("-p") + 1] == "2222"
    assert command[command.index("-J") + 1] == "me@gate"
    assert "StrictHostKeyChecking=yes" in command
    assert not [word for word in command if word.startswith("ControlPath")]


def test_connections_that_are_open_are_used() -> None:
    assert "ControlPath=/run/s/%C" in way("/run/s").command()


def test_a_password_that_cannot_be_had_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in existing.SUDO_PASSWORD:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sys.stdin.isatty", lambda: False)
    with pytest.raises(InputError, match=r"sudo wants the password of admin on w1.*no terminal"):
        existing._sudo([way()])


def test_a_file_for_ansible_is_read_and_an_empty_one_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:

    file = tmp_path / "password"
    monkeypatch.delenv(existing.SUDO_PASSWORD[0], raising=False)
    monkeypatch.setenv(existing.SUDO_PASSWORD[1], str(file))
    file.write_text("s3cret\nrest\n")
    assert existing._password(existing.SUDO_PASSWORD, "?") == "s3cret"
    file.write_text("")
    with pytest.raises(InputError, match="holds no password"):
        existing._password(existing.SUDO_PASSWORD, "?")


def test_a_key_that_is_not_there_is_told_before_any_connection() -> None:
    with pytest.raises(InputError, match=r"access\.key: ~/k is not there, or cannot be read"):
        existing.ExistingProvider(spec()).enter()
