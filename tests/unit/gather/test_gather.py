"""The packed evidence: private, complete, without secrets, also when parts are missing."""

import base64
import json
import tarfile
from types import SimpleNamespace

import pytest

from kubesmith import gather
from kubesmith.errors import KubesmithError

SECRET = "planted-api-value-1"


@pytest.fixture
def job(tmp_path, monkeypatch):
    """A cluster whose API server knows one Secret, with a run and a report of its own."""
    state = tmp_path / "state"
    run = state / "runs" / "20261123T150000.1" / "artifacts" / "ansible"
    run.mkdir(parents=True)
    (run / "stdout").write_text(f"fatal: {SECRET}\n")
    (state / "reports" / "20261123T150000").mkdir(parents=True)
    (state / "reports" / "20261123T150000" / "report.json").write_text("{}")
    (state / "id_ed25519").write_text(
        "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXkt\n-----END OPENSSH PRIVATE KEY-----"
    )
    (state / "kubeconfig").write_text("")
    (tmp_path / "cluster.yml").write_text("cluster: {name: test}\n")
    items = [{"type": "Opaque", "data": {"x": base64.b64encode(SECRET.encode()).decode()}}]
    monkeypatch.setattr(gather, "_kubectl", lambda _config, *_arguments: json.dumps({"items": items}))
    return SimpleNamespace(
        state=state,
        kubeconfig=state / "kubeconfig",
        file=tmp_path / "cluster.yml",
        spec=SimpleNamespace(cluster=SimpleNamespace(name="test")),
        bundle=tmp_path / "bundle",
    )


def evidence():
    texts = {"w1": {"pods/default_app/app-0.log": f"2026 stdout F {SECRET}\n"}, "cp1": {"cluster/objects.yaml": SECRET}}
    return gather.Evidence(texts, {"w1": {"hostname": "w1"}}, {"w2": "cannot be reached"})


def members(file):
    with tarfile.open(file) as tar:
        return {m.name.partition("/")[2]: tar.extractfile(m).read().decode() for m in tar.getmembers()}


def test_everything_is_in_one_private_file(job):
    made = gather.pack(job, evidence())
    assert made.parent == job.state and made.name.startswith("gather-test-")
    assert made.stat().st_mode & 0o777 == 0o600
    assert set(members(made)) == {
        "missing.json",
        "cluster.yml",
        "versions.json",
        "runs/20261123T150000.1/stdout",
        "reports/20261123T150000/report.json",
        "nodes/w1/facts.json",
        "nodes/w1/pods/default_app/app-0.log",
        "cluster/objects.yaml",
    }


def test_values_of_secret_objects_are_in_no_member(job):
    packed = members(gather.pack(job, evidence()))
    assert [name for name, text in packed.items() if SECRET in text] == []


def test_what_is_missing_is_said(job):
    assert json.loads(members(gather.pack(job, evidence()))["missing.json"]) == {"w2": "cannot be reached"}


def test_an_api_server_that_is_down_is_no_obstacle(job, monkeypatch):
    def down(_config, *_arguments):
        raise KubesmithError("kubectl get: connection refused")

    monkeypatch.setattr(gather, "_kubectl", down)
    found = evidence()
    assert dict(gather.cluster_objects(job.kubeconfig, found)) == {}
    assert found.missing["cluster"] == "kubectl get: connection refused"
    assert gather.pack(job, found).is_file()


@pytest.mark.parametrize("name", ["own.tar.gz", ""])
def test_another_place(job, tmp_path, name):
    made = gather.pack(job, evidence(), output=tmp_path / name)
    assert made.parent == tmp_path
    assert made.name == name or made.name.startswith("gather-test-")


def test_a_place_that_cannot_be_written_is_an_error_with_a_remedy(job, tmp_path):
    with pytest.raises(KubesmithError, match="cannot write") as caught:
        gather.pack(job, evidence(), output=tmp_path / "no" / "x.tar.gz")
    assert "--output" in caught.value.fix
