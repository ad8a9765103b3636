"""The verb around the rules: nodes that do not answer, what is known here, and the table."""

import base64
import io
import json

import pytest
from rich.console import Console

from kubesmith.commands import preflight
from kubesmith.execute import Failure
from kubesmith.preflight import ERROR, WARNING, Finding
from kubesmith.ui import Ui

PEM = "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n"
HELLO = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"


def kubeconfig(file):
    data = base64.b64encode(PEM.encode()).decode()
    file.write_text(json.dumps({"clusters": [{"cluster": {"certificate-authority-data": data}}]}))
    return file


class TestSilent:
    SSH = "Task failed: Failed to connect to the host via ssh: ssh: connect to host 10.0.0.9 port 22: No route to host"

    def find(self, failure, **variables):
        found = preflight._silent(
            failure, {"ansible_host": "10.0.0.9", "ansible_port": 22, "ansible_user": "me"} | variables
        )
        return found.severity, found.what, found.seen, found.fix

    def test_a_machine_that_does_not_answer(self):
        assert self.find(Failure("w1", "", "", self.SSH, unreachable=True)) == (
            ERROR,
            "reached",
            "ssh: connect to host 10.0.0.9 port 22: No route to host",
            "look whether it runs, and whether this works: ssh -p 22 me@10.0.0.9",
        )

    def test_a_machine_that_was_never_made(self):
        failure = Failure("w1", "", "", "Name or service not known", unreachable=True)
        assert self.find(failure, ansible_host="w1.not-made.invalid") == (
            ERROR,
            "machine",
            "it has not been made",
            "python3 runner.py up --only nodes",
        )

    def test_a_module_that_could_not_run(self):
        _severity, what, seen, fix = self.find(Failure("w1", "", "", "Missing sudo password"))
        assert (what, seen) == ("looked at", "Missing sudo password")
        assert "sudo" in fix


class TestKnown:
    def test_the_ca_of_the_kubeconfig_kept_here(self, tmp_path):
        assert preflight.known_ca(kubeconfig(tmp_path / "kubeconfig")) == HELLO

    @pytest.mark.parametrize("text", ["", "{", "clusters: []", "clusters: [{cluster: {}}]", "- a"])
    def test_a_kubeconfig_without_one(self, tmp_path, text):
        (tmp_path / "kubeconfig").write_text(text)
        assert preflight.known_ca(tmp_path / "kubeconfig") == ""
        assert preflight.known_ca(tmp_path / "none") == ""

    def test_the_bundle_and_its_size(self, tmp_path):
        component = {"files": [{"size": 1 << 20}], "images": [{"size": 3 << 20}]}
        made = {"digest": "d", "arch": "amd64", "kubernetes": "1.37.2", "components": [component]}
        (tmp_path / "bundle.json").write_text(json.dumps(made))
        assert preflight.bundle(tmp_path) == {"digest": "d", "arch": "amd64", "kubernetes": "1.37.2", "mib": 4}
        assert preflight.bundle(tmp_path / "none") == {}


class TestTable:
    ROWS = (
        Finding(ERROR, "w1", "MTU", "[1500]", "rule", "fix"),
        Finding(ERROR, "w2", "MTU", "[1500]", "rule", "fix"),
        Finding(WARNING, "w1", "swap", "on", "rule", "nothing to do"),
    )

    def shown(self, rows, **options):
        ui = Ui(**options)
        ui.console = Console(file=io.StringIO(), width=80, highlight=False)
        preflight.show(rows, 2, ui)
        return ui.console.file.getvalue()

    def test_equal_findings_of_several_nodes_share_a_line(self):
        table = self.shown(self.ROWS).splitlines()
        assert table[0].split() == ["Node", "What", "Seen", "Rule", "Fix"]
        assert table[1].split() == ["error", "w1,", "w2", "MTU", "[1500]", "rule", "fix"]
        assert table[2].split()[:4] == ["warning", "w1", "swap", "on"]
        assert table[3] == "2 node(s): 2 error(s), 1 warning(s)"

    def test_nothing_found(self):
        assert self.shown([]) == "2 node(s): 0 error(s), 0 warning(s)\n"

    def test_quiet_is_quiet_unless_there_is_an_error(self):
        assert self.shown([], quiet=True) == ""
        assert "2 error(s)" in self.shown(self.ROWS, quiet=True)
