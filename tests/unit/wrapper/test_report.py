"""What a run leaves: JSON, and words with the next command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kubesmith import job, kube, paths, report
from kubesmith.errors import KubesmithError
from kubesmith.execute import Failure, HostCount, Result
from kubesmith.ui import PhaseTime, Ui

KUBECTL = """\
#!/bin/sh
echo "$@" >> "$(dirname "$0")/asked"
[ -s "$KUBECONFIG" ] || { echo "no such cluster" >&2; exit 1; }
cat "$(dirname "$0")/answer.json"
"""
NODE: dict[str, Any] = {
    "metadata": {"name": "cp1", "labels": {"node-role.kubernetes.io/control-plane": ""}},
    "status": {
        "conditions": [{"type": "MemoryPressure", "status": "False"}, {"type": "Ready", "status": "True"}],
        "addresses": [{"type": "Hostname", "address": "cp1"}, {"type": "InternalIP", "address": "10.9.0.2"}],
        "nodeInfo": {
            "kubeletVersion": "v1.37.2",
            "containerRuntimeVersion": "containerd://2.4.2",
            "osImage": "Debian GNU/Linux 12 (bookworm)",
        },
    },
}


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle whose kubectl answers with answer.json."""
    program = tmp_path / "bundle" / "bin" / "kubectl"
    program.parent.mkdir(parents=True)
    program.write_text(KUBECTL)
    program.chmod(0o755)
    monkeypatch.setenv("KUBESMITH_BUNDLE", str(tmp_path / "bundle"))
    return program.parent


def answer(bundle: Path, *nodes: dict[str, Any]) -> Path:
    (bundle / "answer.json").write_text(json.dumps({"items": nodes}))
    kubeconfig = bundle / "kubeconfig"
    kubeconfig.write_text("x")
    return kubeconfig


def with_ready(status: str | None) -> dict[str, Any]:
    conditions = [] if status is None else [{"type": "Ready", "status": status}]
    return {"metadata": {"name": "w1"}, "status": NODE["status"] | {"conditions": conditions, "addresses": []}}


def test_nodes_are_rows(bundle: Path) -> None:
    rows = report.nodes(answer(bundle, NODE, with_ready("False"), with_ready("Unknown"), with_ready(None)))
    assert (rows[0].role, rows[0].ready, rows[0].address) == ("control plane", "Ready", "10.9.0.2")
    assert [(row.role, row.ready, row.address) for row in rows[1:]] == [
        ("worker", "NotReady", ""),
        ("worker", "Unknown", ""),
        ("worker", "Unknown", ""),
    ]


def test_kubectl_is_never_waited_for_without_end(bundle: Path) -> None:
    report.nodes(answer(bundle, NODE))
    assert "--request-timeout=20s" in (bundle / "asked").read_text()


def test_a_cluster_without_kubeconfig_is_told(tmp_path: Path) -> None:
    with pytest.raises(KubesmithError, match="the cluster has no kubeconfig yet"):
        kube.environment(tmp_path / "kubeconfig")


def test_what_kubectl_says_is_passed_on(bundle: Path, tmp_path: Path) -> None:
    empty = tmp_path / "kubeconfig"
    empty.touch()
    with pytest.raises(KubesmithError, match="kubectl get nodes: no such cluster"):
        report.nodes(empty)


def test_without_a_bundle_the_kubectl_on_path_is_used_or_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBESMITH_BUNDLE", str(tmp_path / "none"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(KubesmithError, match="there is no kubectl"):
        kube.binary()
    (tmp_path / "kubectl").write_text("#!/bin/sh\n")
    (tmp_path / "kubectl").chmod(0o755)
    assert kube.binary() == str(tmp_path / "kubectl")


PHASES = (PhaseTime("nodes", 0.5, 4.0, True), PhaseTime("verify", 4.5, 10.25, True))


def made(rows: list[report.NodeRow]) -> report.Report:
    counts = {"cp1": HostCount(40, 3, 2, 0), "w1": HostCount(30, 0, 2, 0)}
    return report.Report("lab", rows, PHASES, counts, {"passed": 90, "failed": 0}, "/s/kubeconfig")


def test_the_json_has_everything_and_is_private(tmp_path: Path) -> None:
    report.write(made([]), tmp_path)
    file = tmp_path / "report.json"
    content = json.loads(file.read_text())
    assert (content["schema"], content["cluster"], content["seconds"]) == (1, "lab", 14.75)
    assert content["tasks"]["cp1"] == {"evaluated": 40, "changed": 3, "skipped": 2, "failed": 0}
    assert file.stat().st_mode & 0o777 == 0o600


def test_latest_leads_to_the_newest_report(tmp_path: Path) -> None:
    first = report.folder(tmp_path)
    assert (tmp_path / "reports" / "latest").resolve() == first
    assert first.stat().st_mode & 0o777 == 0o700
    assert report.folder(tmp_path) == (tmp_path / "reports" / "latest").resolve()


def test_the_summary_ends_with_the_next_command(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = report.nodes(answer(bundle, NODE))
    work = job.read(str(paths.inventories() / "lab"), Ui())
    report.show(made(rows), tmp_path, work.ui, work)
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "cp1 control plane Ready 10.9.0.2 v1.37.2 containerd://2.4.2" in lines
    assert "Changed cp1 3, w1 0" in lines
    assert "Checks 90 passed, 0 failed" in lines
    assert lines[-1] == "Next python3 runner.py kubectl get pods -A -o wide"


def test_failures_name_host_task_and_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    failures = (
        Failure("w1", "Play", "containerd: Install", "no space left\non device [/]", "detail"),
        Failure("w2", "Play", "containerd: Install", "timed out", unreachable=True),
    )
    report.failed(Result("failed", {}, failures, (), tmp_path), Ui())
    said = capsys.readouterr().out
    assert "w1 failed at: containerd: Install\n  no space left\n  on device [/]\n" in said
    assert "w2 cannot be reached\n  timed out\n" in said
    assert str(tmp_path) in said
