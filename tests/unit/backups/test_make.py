"""The backup before a change: when there is one, and when a failure ends the run."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from kubesmith.backups import make
from kubesmith.errors import KubesmithError
from kubesmith.ui import Ui


def job(tmp_path, *, wanted=True, there=True, adopted=None):
    kubeconfig = tmp_path / "kubeconfig"
    if there:
        kubeconfig.touch()
    spec = SimpleNamespace(backup=SimpleNamespace(before_changes=wanted), adopted=adopted)
    return SimpleNamespace(spec=spec, kubeconfig=Path(kubeconfig), ui=Ui())


@pytest.mark.parametrize("more", [{"wanted": False}, {"there": False}, {"adopted": "keep"}])
def test_none_is_taken_where_none_is_wanted_or_possible(tmp_path, monkeypatch, more):
    monkeypatch.setattr(make, "take", pytest.fail)
    assert make.before(job(tmp_path, **more), "up") is None


def test_a_change_does_not_begin_without_one_unless_it_may_mend_the_cluster(tmp_path, monkeypatch, capsys):
    def refused(_job, reason, **_more):
        raise KubesmithError(f"no: {reason}")

    monkeypatch.setattr(make, "take", refused)
    with pytest.raises(KubesmithError, match="upgrade did not begin: no: before upgrade"):
        make.before(job(tmp_path), "upgrade")
    assert make.before(job(tmp_path), "up", vital=False) is None
    assert "up goes on without a backup" in capsys.readouterr().out
