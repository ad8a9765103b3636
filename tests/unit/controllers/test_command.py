"""Bad input to `up --controllers` and `controllers`: exit 2, and nothing was touched."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from cryptography import x509

from kubesmith import cli
from kubesmith.controllers import certificates

CLUSTER = "plugin: kubesmith.cluster.spec\ncluster: {name: untouched}\nprovider: podman\nlab: true\nworkers: 1\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KUBESMITH_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "cluster.yml").write_text(CLUSTER)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["up", "--controllers", "tcp://h:8786"], "is not encrypted"),
        (["up", "--controllers", "h:8786"], "is no address of controllers"),
        (["up", "--controllers", "tls://h"], "is no address of controllers"),
        (["up", "--controllers", "tls://h:8786"], "has no ca.pem, cert.pem, key.pem"),
        (["up", "--controllers", "receptor:/x"], "is no address of controllers"),
        (["up", "--check", "--controllers", "tls://h:8786"], "says nothing to --check"),
        (["up", "--tls", "/x"], "says nothing without --controllers"),
        (["controllers", "worker"], "'nothing' is not the address of a scheduler"),
        (["controllers", "worker", "tcp://h:1"], "'tcp://h:1' is not the address of a scheduler"),
        (["controllers", "scheduler", "tls://h:1"], "address says nothing to controllers scheduler"),
        (["controllers", "scheduler", "--listen", "8786"], "'8786' is not HOST:PORT"),
        (["controllers", "certificates", "--at-once", "2"], "--at-once says nothing to controllers certificates"),
        (
            ["controllers", "worker", "tls://h:1", "--dashboard", "h:2"],
            "--dashboard says nothing to controllers worker",
        ),
    ],
)
def test_bad_input(folder: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str) -> None:
    if words[0] == "controllers" and words[1] != "certificates":
        certificates.make(folder / ".config/kubesmith/controllers")
    inventory = ["--inventory", str(folder / "cluster.yml")] if words[0] == "up" else []
    assert cli.main([*words, *inventory]) == 2
    assert said in capsys.readouterr().err
    assert not (folder / "state").exists()


@pytest.mark.parametrize(("option", "value"), [("--at-once", "0"), ("--at-once", "many")])
def test_a_wrong_number_is_refused_by_the_parser(folder: Path, option: str, value: str) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["controllers", "worker", "tls://h:1", option, value])
    assert ended.value.code == 2


def test_nobody_at_the_address_is_told_within_seconds(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("distributed")
    certificates.make(folder / "tls")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        words = ["up", "--controllers", f"tls://127.0.0.1:{closed.getsockname()[1]}", "--tls", str(folder / "tls")]
        assert cli.main([*words, "--inventory", str(folder / "cluster.yml")]) == 2
    assert "no scheduler answers at" in capsys.readouterr().err
    assert not (folder / "state").exists()


def test_certificates_are_made_once_private_and_the_authority_signs_no_other(folder: Path) -> None:
    assert cli.main(["controllers", "certificates", "--tls", str(folder / "tls")]) == 0
    files = {file.name: file for file in (folder / "tls").iterdir()}
    assert sorted(files) == sorted(certificates.FILES), "the CA's own key is nowhere"
    assert {file.stat().st_mode & 0o777 for file in files.values()} == {0o600}
    ca, own = (x509.load_pem_x509_certificate(files[name].read_bytes()) for name in ("ca.pem", "cert.pem"))
    own.verify_directly_issued_by(ca)
    assert cli.main(["controllers", "certificates", "--tls", str(folder / "tls")]) == 2
