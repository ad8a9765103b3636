"""Passwords are fetched on the controller, when they are needed."""

import pytest
from ansible.errors import AnsibleLookupError
from ansible.parsing.dataloader import DataLoader
from ansible.parsing.vault import VaultEditor, VaultLib, VaultSecret
from ansible_collections.kubesmith.cluster.plugins.lookup.registry_logins import LookupModule
from ansible_collections.kubesmith.cluster.plugins.plugin_utils.registries import logins

SECRET = [("default", VaultSecret(b"vault-word"))]


@pytest.fixture
def look():
    loader = DataLoader()
    loader.set_vault_secrets(SECRET)
    return lambda *rows: LookupModule(loader=loader).run(list(rows))


def registry(**auth):
    return {"upstream": "reg:5000", "mirrors": [], "auth": {"username": "u", **auth}}


def test_from_the_environment(look, monkeypatch):
    monkeypatch.setenv("REG_PASSWORD", "word")
    (row,) = look(registry(password_env="REG_PASSWORD"))
    assert row["auth"] == {"username": "u", "password": "word"}


def test_from_a_file_without_its_last_line_end(look, tmp_path):
    (tmp_path / "p").write_text("word \n")
    assert look(registry(password_file=str(tmp_path / "p")))[0]["auth"]["password"] == "word "


def test_from_a_file_that_ansible_vault_encrypted(look, tmp_path):
    file = tmp_path / "p"
    file.write_text("word\n")
    VaultEditor(VaultLib(SECRET)).encrypt_file(str(file), SECRET[0][1])
    assert "word" not in file.read_text()
    assert look(registry(password_file=str(file)))[0]["auth"]["password"] == "word"


def test_of_mirrors_and_of_the_proxy(look, monkeypatch):
    monkeypatch.setenv("P", "word")
    auth = {"username": "u", "password_env": "P"}
    mirrored, proxy = look({"upstream": "a", "mirrors": [{"url": "https://m", "auth": auth}]}, {"auth": auth})
    assert mirrored["mirrors"][0]["auth"]["password"] == proxy["auth"]["password"] == "word"


@pytest.mark.parametrize("auth", [{"password_env": "NOT_SET_HERE"}, {"password_file": "/not/there"}])
def test_a_password_that_is_not_there_is_told_with_its_place(look, auth):
    with pytest.raises(AnsibleLookupError, match=f"no password for reg:5000: .*{next(iter(auth.values()))}"):
        look(registry(**auth))


def test_all_logins_are_found():
    auth = {"username": "u"}
    rows = [{"upstream": "a", "auth": auth, "mirrors": [{"url": "m", "auth": auth}, {"url": "n"}]}, {"upstream": "b"}]
    assert [whose for whose, _ in logins(rows, {"auth": auth})] == ["a", "m", "the proxy"]
