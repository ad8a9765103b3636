"""Passwords are missed before a node is touched."""

from pathlib import Path

import pytest
from ansible_collections.kubesmith.cluster.plugins.plugin_utils import spec

from kubesmith import logins
from kubesmith.errors import InputError

FILE = """\
cluster: {{name: x}}
provider: podman
runtime:
  registries:
  - {{upstream: reg, auth: {{username: u, password_env: REG_PASSWORD}}}}
  - {{upstream: quay.io, mirrors: [{{url: "https://m", auth: {{username: u, password_file: {file}}}}}]}}
"""


def test_each_missing_password_is_told_with_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster, secret = tmp_path / "c.yml", tmp_path / "secret"
    cluster.write_text(FILE.format(file=secret))
    monkeypatch.delenv("REG_PASSWORD", raising=False)
    with pytest.raises(InputError) as error:
        logins.check(spec.read(cluster))
    assert str(error.value) == (
        "no password for reg: the environment variable REG_PASSWORD is not set; "
        f"https://m: {secret} cannot be read: No such file or directory"
    )
    secret.write_text("word\n")
    monkeypatch.setenv("REG_PASSWORD", "word")
    logins.check(spec.read(cluster))
