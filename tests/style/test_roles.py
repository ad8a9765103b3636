"""Each role's interface is written once: specs, defaults and README agree, and roles keep to themselves."""

import importlib.util
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
ROLES = sorted(path for path in (ROOT / "roles").iterdir() if path.is_dir())
LOADER = importlib.util.spec_from_file_location("role_readme", ROOT / "docs" / "role_readme.py")
role_readme = importlib.util.module_from_spec(LOADER)
LOADER.loader.exec_module(role_readme)


def options(role):
    return yaml.safe_load((role / "meta/argument_specs.yml").read_text())["argument_specs"]["main"]["options"]


def defaults(role):
    return yaml.safe_load((role / "defaults/main.yml").read_text())


def yaml_files(role):
    return [path for path in role.rglob("*.yml") if "meta" not in path.parts]


def test_there_are_four_roles():
    assert [role.name for role in ROLES] == ["calico", "containerd", "kubeadm_master", "kubeadm_worker"]


@pytest.fixture(params=ROLES, ids=lambda role: role.name)
def role(request):
    return request.param


def test_specs_equal_defaults(role):
    wanted = {name: option.get("default") for name, option in options(role).items() if not option.get("required")}
    given = {name: value for name, value in defaults(role).items() if "undef(" not in str(value)}
    assert given == wanted


def test_required_options_have_a_hint_instead_of_a_default(role):
    required = {name for name, option in options(role).items() if option.get("required")}
    assert required == {name for name, value in defaults(role).items() if "undef(hint=" in str(value)}


def test_every_variable_carries_the_roles_name(role):
    internal = role / "vars/main.yml"
    hidden = yaml.safe_load(internal.read_text()) if internal.exists() else {}
    assert all(name.startswith(f"{role.name}_") for name in defaults(role))
    assert all(name.startswith(f"__{role.name}_") for name in hidden)


def test_every_variable_is_used(role):
    text = "".join(
        path.read_text() for path in role.rglob("*") if path.is_file() and path.parts[-2] not in ("defaults", "meta")
    )
    text += (role / "defaults/main.yml").read_text()
    unused = [name for name in defaults(role) if len(re.findall(rf"\b{name}\b", text)) < 2]
    assert unused == []


def test_no_role_knows_the_inventory_or_another_role(role):
    others = "|".join(other.name for other in ROLES if other != role)
    text = "".join(path.read_text() for path in [*yaml_files(role), *role.glob("templates/*")])
    assert not re.search(r"\bgroups[.\[]|\bhostvars\b", text)
    assert not re.search(rf"(?<![\w.])(__)?({others})_\w+", text)


def test_the_index_reads_in_order(role):
    beats = [task["ansible.builtin.import_tasks"] for task in yaml.safe_load((role / "tasks/main.yml").read_text())]
    order = [
        "look",
        "preflight",
        "install",
        "configure",
        "service",
        "images",
        "restore",
        "init",
        "join",
        "labels",
        "timers",
        "access",
        "policies",
        "verify",
    ]
    names = [beat.removesuffix(".yml") for beat in beats]
    assert names == [name for name in order if name in names]
    # What a play wants by itself: what a person does by hand, a balancer's new list, and the part of the index that
    # does not ask how far the cluster is.
    assert {path.stem for path in (role / "tasks").iterdir()} - {"prepare", "export", "balancer"} == {*names, "main"}
    prepare = yaml.safe_load((role / "tasks/prepare.yml").read_text())
    part = [task["ansible.builtin.import_tasks"] for task in prepare]
    begin = beats.index(part[0])
    assert part == beats[begin : begin + len(part)]


def test_the_readme_is_written_from_the_specs(role):
    assert (role / "README.md").read_text() == role_readme.readme(role), "run: python docs/role_readme.py"
