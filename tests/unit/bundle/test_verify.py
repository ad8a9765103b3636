"""``verify`` finds whatever differs from ``bundle.json``, and names it."""

import json
from pathlib import Path

import pytest

from kubesmith import cli
from kubesmith.bundle import image_gaps, load, verify
from kubesmith.commands.bundle import run
from kubesmith.errors import InputError, KubesmithError


def edit(path: Path, change) -> None:
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def layer_of(root: Path) -> Path:
    return load(root).blob(next(load(root).images()).blobs[-1])


def test_a_whole_bundle_has_no_problem(tiny):
    assert verify(tiny) == []


def test_a_changed_byte_is_found_although_size_and_mode_are_the_same(tiny):
    path = tiny / "bin" / "kubeadm"
    path.write_text(path.read_text().replace("pause", "pausf"))
    (problem,) = verify(tiny)
    assert problem.startswith("bin/kubeadm: changed")


def test_a_missing_file_is_named(tiny):
    (tiny / "bin" / "kubeadm").unlink()
    assert verify(tiny) == ["bin/kubeadm: missing"]


def test_a_wrong_mode_is_named(tiny):
    (tiny / "bin" / "kubeadm").chmod(0o777)
    assert verify(tiny) == ["bin/kubeadm: mode 0777, must be 0755"]


def test_a_changed_blob_is_named_with_its_image(tiny):
    blob = layer_of(tiny)
    blob.write_bytes(blob.read_bytes()[:-1] + b"x")
    (problem,) = verify(tiny)
    assert blob.name in problem
    assert "changed (part of kubesmith.internal/pause:3.10)" in problem


def test_a_missing_blob_is_named(tiny):
    layer_of(tiny).unlink()
    (problem,) = verify(tiny)
    assert "missing (part of kubesmith.internal/pause:3.10)" in problem


def test_a_file_too_many_is_named(tiny):
    (tiny / "bin" / "extra").touch()
    assert verify(tiny) == ["bin/extra: not part of this bundle"]


def test_an_edited_bundle_json_no_longer_fits_its_digest(tiny):
    edit(tiny / "bundle.json", lambda data: data["components"][0].update(version="9"))
    (problem,) = verify(tiny)
    assert problem.startswith("bundle.json: digest is sha256:")


def test_an_index_that_names_another_image_is_found(tiny):
    edit(tiny / "images" / "index.json", lambda data: data["manifests"][0].update(digest="sha256:0"))
    (problem,) = verify(tiny)
    assert problem.startswith("images/index.json: kubesmith.internal/pause:3.10 is sha256:0, must be sha256:")


def test_the_sbom_of_another_bundle_is_found(tiny):
    edit(tiny / "sbom.cdx.json", lambda data: data.update(serialNumber="urn:uuid:0"))
    (problem,) = verify(tiny)
    assert problem.startswith("sbom.cdx.json: belongs to another bundle")


def test_an_image_that_kubeadm_asks_for_and_the_bundle_lacks_is_a_gap(tiny):
    (tiny / "bin" / "kubeadm").write_text("#!/bin/sh\necho kubesmith.internal/pause:3.10 kubesmith.internal/etcd:3.7\n")
    assert image_gaps(load(tiny)) == [
        "images/index.json: image kubesmith.internal/etcd:3.7 is missing, kubeadm asks for it"
    ]


def test_kubeadm_is_asked_for_our_repository_and_this_version(tiny):
    (tiny / "bin" / "kubeadm").write_text('#!/bin/sh\necho "$@" >&2\nexit 1\n')
    (problem,) = image_gaps(load(tiny))
    assert "--image-repository kubesmith.internal --kubernetes-version v1.37.2" in problem


def test_a_kubeadm_that_does_not_run_is_a_problem(tiny):
    (tiny / "bin" / "kubeadm").chmod(0o644)
    (problem,) = image_gaps(load(tiny))
    assert problem.startswith("bin/kubeadm does not run")


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"schema": 1, "name": "x"}'])
def test_an_unreadable_bundle_json_is_one_sentence(tmp_path, content):
    (tmp_path / "bundle.json").write_text(content)
    with pytest.raises(KubesmithError, match=r"bundle\.json cannot be read"):
        load(tmp_path)


def test_a_bundle_of_another_schema_is_refused(tiny):
    edit(tiny / "bundle.json", lambda data: data.update(schema=2))
    with pytest.raises(KubesmithError, match="schema is 2, this kubesmith reads 1"):
        load(tiny)


def test_no_bundle_is_said_with_the_remedy(tmp_path):
    with pytest.raises(KubesmithError, match="holds no bundle") as caught:
        load(tmp_path)
    assert caught.value.fix == "Make one: runner.py bundle build"


def test_the_command_verify_prints_each_problem_and_fails(tiny, capsys):
    assert run("verify", path=tiny, as_json=False) == 0
    (tiny / "bin" / "kubeadm").unlink()
    assert run("verify", path=tiny, as_json=False) == 1
    assert "bin/kubeadm: missing\n" in capsys.readouterr().out


def test_a_verification_that_fails_is_shown_as_failed(tiny, capsys):
    (tiny / "bin" / "kubeadm").unlink()
    assert cli.main(["bundle", "verify", str(tiny)]) == 1
    assert "✗ Bundle: verify" in capsys.readouterr().out


def test_the_commands_speak_json(tiny, capsys):
    (tiny / "bin" / "kubeadm").unlink()
    assert run("verify", path=tiny, as_json=True) == 1
    assert json.loads(capsys.readouterr().out)["problems"] == ["bin/kubeadm: missing"]
    assert run("list", path=tiny, as_json=True) == 0
    (row,) = json.loads(capsys.readouterr().out)["components"]
    assert (row["name"], row["version"], row["files"], row["images"]) == ("pause", "3.10", 1, 1)


def test_the_command_list_shows_names_versions_and_sizes(tiny, capsys):
    assert run("list", path=tiny, as_json=False) == 0
    assert "pause" in capsys.readouterr().out


def test_an_unknown_action_is_refused(tiny):
    with pytest.raises(InputError, match="bundle burn"):
        run("burn", path=tiny, as_json=False)


def test_a_component_of_debian_without_packages_of_its_own_is_listed(tiny, capsys):
    data = json.loads((tiny / "bundle.json").read_text())
    data["components"][0]["source"] = {"type": "debian", "suite": "bookworm"}  # as the balancer's is
    (tiny / "bundle.json").write_text(json.dumps(data))
    assert run("list", path=tiny, as_json=True) == 0
    assert json.loads(capsys.readouterr().out)["components"][0]["from"] == "Debian bookworm"
