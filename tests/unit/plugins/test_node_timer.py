"""A job on a timer: the code that it needs is what the module has loaded, and runs without Ansible."""

import json
import subprocess
import sys

import pytest
from ansible_collections.kubesmith.cluster.plugins.module_utils.process import CommandError, Result
from ansible_collections.kubesmith.cluster.plugins.modules import node_timer


def test_the_code_runs_by_itself(tmp_path):
    for path, text in node_timer.code().items():
        file = tmp_path / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    settings = tmp_path / "settings.json"
    settings.write_text(json.dumps({"cluster": "lab", "recipients": [], "spec": "", "reason": "timer", "keep": 3}))
    command = [sys.executable, "-I", "-c", "import sys; sys.path.insert(0, sys.argv[1]); sys.argv[1:2] = []\n"]
    command[-1] += f"import runpy; runpy.run_module('{node_timer.PACKAGE}.backup', run_name='__main__', alter_sys=True)"
    done = subprocess.run(
        [*command, str(tmp_path / node_timer.CODE.lstrip("/")), str(settings)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("no backup was made: this node runs no etcd"), done.stderr


def test_the_unit_names_the_settings_and_the_timer_the_time():
    made = node_timer.wanted("backup", "daily", {"keep": 3})
    assert made["/etc/kubesmith/backup.json"] == ('{\n "keep": 3\n}\n', 0o600)
    assert (
        f"-m {node_timer.PACKAGE}.backup /etc/kubesmith/backup.json"
        in made[f"{node_timer.UNITS}/kubesmith-backup.service"][0]
    )
    assert "OnCalendar=daily\n" in made[f"{node_timer.UNITS}/kubesmith-backup.timer"][0]


def test_a_time_that_systemd_does_not_know_is_refused(monkeypatch):
    monkeypatch.setattr(node_timer, "run", lambda *_words, **_more: Result(1, "no", ""))
    with pytest.raises(CommandError, match="'soon' is not a time that systemd knows: no"):
        node_timer.check_calendar("soon")
