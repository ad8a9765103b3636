"""What control planes share, and what of their configuration may differ."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.kubesmith.cluster.plugins.module_utils import kubeadm
from ansible_collections.kubesmith.cluster.plugins.module_utils.process import CommandError


def text(*names: str, domain: str = "cluster.local") -> str:
    rows = "".join(f"    - {name}\n" for name in names)
    sans = f"    certSANs:\n{rows}" if names else "    certSANs: []\n"
    return f"apiServer:\n{sans}kind: ClusterConfiguration\ndnsDomain: {domain}\n"


NOW = ["10.9.0.11", "10.9.0.12", "10.9.0.13"]


@pytest.mark.parametrize(
    ("before", "after", "same"),
    [
        (text("api.example.org", *NOW), text("api.example.org", *NOW), True),
        (text("api.example.org", "10.9.0.11"), text("api.example.org", *NOW), True),  # two were added
        (text("api.example.org", *NOW, "10.9.0.14"), text("api.example.org", *NOW), True),  # one was removed
        (text(*NOW), text("api.example.org", *NOW), False),
        (text("api.example.org", *NOW), text(*NOW), False),
        (text(*NOW), text("192.0.2.7", *NOW), False),  # an address that is no control plane's
        (text(*NOW), text(*NOW, domain="k8s.local"), False),
        (text(), text(), True),
        ("", text(*NOW), False),
    ],
)
def test_control_planes_that_come_and_go_are_no_other_configuration(before: str, after: str, *, same: bool) -> None:
    assert (kubeadm.without_addresses(before, after, NOW) == after) is same


def shared(root: Path) -> None:
    for path in kubeadm.SHARED:
        file = root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"content of {path}\n")


def test_what_control_planes_share_is_read_whole(tmp_path: Path) -> None:
    shared(tmp_path)
    found = kubeadm.authority(str(tmp_path))
    assert set(found) == set(kubeadm.SHARED)
    key = tmp_path / kubeadm.ENCRYPTION.lstrip("/")
    key.parent.mkdir()
    key.write_text("{}")
    assert kubeadm.authority(str(tmp_path))[kubeadm.ENCRYPTION] == "{}"
    (tmp_path / "etc/kubernetes/pki/ca.key").unlink()
    with pytest.raises(FileNotFoundError, match=r"ca\.key"):
        kubeadm.authority(str(tmp_path))


def test_nothing_but_that_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Any] = []
    monkeypatch.setattr(kubeadm.files, "put", lambda path, _text, mode: written.append((path, oct(mode))))
    with pytest.raises(CommandError, match="/etc/shadow"):
        kubeadm.write_authority({"/etc/shadow": ""})
    assert written == []
