"""What podman prints while another lab is being removed."""

from __future__ import annotations

from pathlib import Path

import pytest

from kubesmith.errors import KubesmithError
from kubesmith.providers.podman import engine

# The first two calls end as podman does when a volume goes while it lists them.
FLAKY = """#!/bin/sh
echo x >>{calls}
[ "$(wc -l <{calls})" -ge 3 ] && {{ echo '[{{"Name": "a"}}]'; exit 0; }}
echo 'Error: no volume with name b found in database: no such volume' >&2
exit 125
"""


def fake(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    file = folder / "podman"
    file.write_text(script)
    file.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_a_list_is_made_again_when_something_went_while_it_was_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake(tmp_path, monkeypatch, FLAKY.format(calls=tmp_path / "calls"))
    assert engine.podman_json("volume", "ls") == [{"Name": "a"}]


def test_another_failure_of_a_list_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake(
        tmp_path, monkeypatch, f"#!/bin/sh\necho x >>{tmp_path}/calls; echo 'Error: database is locked' >&2; exit 125\n"
    )
    with pytest.raises(KubesmithError, match="database is locked"):
        engine.podman_json("ps")
    assert (tmp_path / "calls").read_text() == "x\n"
