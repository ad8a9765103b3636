"""Lists of machines of other tools become cluster files."""

import json
from pathlib import Path
from typing import Any

import pytest

from kubesmith import cli, hardware, rebar
from kubesmith.errors import InputError
from kubesmith.kubespray import Imported

EKS = """\
hostname,bmc_ip,bmc_username,bmc_password,mac,ip_address,netmask,gateway,nameservers,labels,disk
CP1,10.0.9.1,root,calvin,aa:bb:cc:dd:ee:01,10.0.0.11,255.255.255.0,10.0.0.1,8.8.8.8|9.9.9.9,type=cp,/dev/sda
w1,10.0.9.2,root,calvin,aa:bb:cc:dd:ee:02,10.0.0.21,255.255.255.0,10.0.0.1,8.8.8.8,type=worker|tier=gold,/dev/sda
"""


def table(tmp_path: Path, text: str) -> Imported:
    file = tmp_path / "hardware.csv"
    file.write_text(text)
    return hardware.read(file)


def drp(tmp_path: Path, content: Any) -> Imported:
    file = tmp_path / "machines.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return rebar.read(file)


def test_a_hardware_csv_becomes_a_cluster_file(tmp_path: Path) -> None:
    imported = table(tmp_path, EKS)
    assert imported.data["nodes"] == [
        {"name": "cp1", "address": "10.0.0.11", "role": "control-plane"},
        {"name": "w1", "address": "10.0.0.21", "labels": {"tier": "gold"}},
    ]
    assert imported.data["cluster"]["name"] == "hardware"
    assert any("bmc_password" in row for row in imported.ignored)
    assert "calvin" not in imported.text() + str(imported)


def test_semicolons_a_byte_order_mark_quotes_and_blank_lines_are_read(tmp_path: Path) -> None:
    imported = table(tmp_path, '\ufeffName; IP ;Role;port\n"a";10.0.0.1;master;2222\n;;;\nb; 10.0.0.2 ;node;\n')
    assert [node["address"] for node in imported.data["nodes"]] == ["10.0.0.1", "10.0.0.2"]
    assert imported.data["nodes"][0]["port"] == 2222


def test_without_a_role_the_first_is_the_control_plane_and_that_is_told(tmp_path: Path) -> None:
    imported = table(tmp_path, "name,ip\na,10.0.0.1\nb,10.0.0.2\n")
    assert imported.data["nodes"][0]["role"] == "control-plane"
    assert any("a, the first" in row for row in imported.translated)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "lists no machine"),
        ("name,ip\n", "lists no machine"),
        ("host,addr\na,10.0.0.1\n", "no column for the name"),
        ("name,ip\na,10.0.0.300\n", "is not an IPv4 address"),
        ("name,ip\na,\n", "row 2 has no address"),
        ("name,ip,role\na,10.0.0.1,king\n", "'king' is no role"),
        ("name,ip,port\na,10.0.0.1,ssh\n", "not a number"),
        ("name,ip,port\na,10.0.0.1,²\n", "not a number"),
        ("name,ip\na,10.0.0.1,9\n", "row 2"),
        ("name,ip,role\na,10.0.0.1\n", "row 2"),
        ("name,ip\na,10.0.0.1\na,10.0.0.2\n", "is the name of"),
        ("name,ip\na,10.0.0.1\nb,10.0.0.1\n", "is the address of"),
        ("name,ip,labels\na,10.0.0.1,gold\n", "not key=value"),
        ('name,ip\n"a,10.0.0.1\n', "no CSV"),
    ],
)
def test_a_bad_csv_is_told(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        table(tmp_path, text)


def test_a_file_that_is_absent_or_binary_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read"):
        hardware.read(tmp_path / "none")
    (tmp_path / "b").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="UTF-8"):
        hardware.read(tmp_path / "b")


def test_machines_of_digital_rebar_with_kribs_masters(tmp_path: Path) -> None:
    masters = [{"Name": "cp1.lab", "Uuid": "1", "Address": "10.0.0.1"}]
    machines = [
        {"Name": "w1.lab", "Uuid": "2", "Address": "10.0.0.2", "Params": {"access-keys": {"me": "s3cret"}}},
        {
            "Name": "cp1.lab",
            "Uuid": "1",
            "Address": "10.0.0.1",
            "Params": {"krib/cluster-masters": masters},
            "Arch": "x",
        },
    ]
    imported = drp(tmp_path, machines)
    assert [(node["name"], node.get("role")) for node in imported.data["nodes"]] == [
        ("cp1.lab", "control-plane"),
        ("w1.lab", None),
    ]
    assert "s3cret" not in str(imported)


def test_its_other_forms_are_read(tmp_path: Path) -> None:
    by_id = {"Machines": {"1": {"Name": "a", "Address": "10.0.0.1", "Params": {"krib/i-am-master": True}}}}
    assert drp(tmp_path, by_id).data["nodes"][0]["role"] == "control-plane"
    hostvars = {"a": {"ansible_host": "10.0.0.1", "ansible_user": "root"}, "b": {"ansible_host": "10.0.0.2"}}
    listing = {"_meta": {"hostvars": hostvars}, "kube-master": {"hosts": ["b"]}, "all": {"hosts": ["a", "b"]}}
    assert [node["name"] for node in drp(tmp_path, listing).data["nodes"]] == ["b", "a"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "no JSON"),
        ([], "lists no machine"),
        ("7", "lists no machine"),
        ([{"Name": "a"}], "has no Address"),
        ([{"Name": "a", "Address": "x"}], "is not an IPv4 address"),
    ],
)
def test_bad_json_is_told(tmp_path: Path, content: Any, told: str) -> None:
    with pytest.raises(InputError, match=told):
        drp(tmp_path, content)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"_meta": {"hostvars": [1]}}', '{"_meta": {"hostvars": {"a": 1}}, "krib": 7}']
)
def test_json_of_any_shape_is_told(tmp_path: Path, text: str) -> None:
    file = tmp_path / "machines.json"
    file.write_text(text)
    with pytest.raises(InputError):
        rebar.read(file)


@pytest.mark.parametrize(
    "params", [[1], "x", 5, {"krib/cluster-masters": None}, {"krib/cluster-masters": {"Name": "a"}}]
)
def test_parameters_of_any_shape_say_nothing(tmp_path: Path, params: Any) -> None:
    made = drp(tmp_path, [{"Name": "a", "Address": "10.0.0.1", "Params": params}])
    assert made.kept == ["a: 10.0.0.1, control-plane"]  # the only one is it, and is told so once


@pytest.mark.parametrize("place", ["absent/x/cluster.yml", "/proc/x"])
def test_a_place_that_cannot_be_written_to_is_told(
    tmp_path: Path, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / place
    file = tmp_path / "h.csv"
    file.write_text("name,ip\na,10.0.0.1\n")
    assert cli.main(["import", "csv", str(file), "-o", str(target)]) == 2
    assert capsys.readouterr().err.startswith(f"{target} cannot be made: ")
