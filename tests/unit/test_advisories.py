"""Known holes: found by list and by range, in the locked version and in no other."""

import json
import zipfile

import pytest
from harness import advisories


def advisory(**affected):
    return {
        "id": "X-1",
        "summary": "a hole",
        "affected": [{"package": {"ecosystem": "PyPI", "name": "Jinja2"}} | affected],
    }


def events(*rows):
    return {"ranges": [{"type": "ECOSYSTEM", "events": list(rows)}]}


@pytest.mark.parametrize(
    ("affected", "version", "has"),
    [
        ({"versions": ["2.10"]}, "2.10", True),
        ({"versions": ["2.10"]}, "2.11", False),
        (events({"introduced": "0"}, {"fixed": "2.11"}), "2.10", True),
        (events({"introduced": "0"}, {"fixed": "2.11"}), "2.11", False),
        (events({"introduced": "3.0"}), "2.10", False),
        (events({"introduced": "0"}, {"last_affected": "2.10"}), "2.10", True),
        (events({"introduced": "0"}, {"fixed": "2.0"}, {"introduced": "2.9"}, {"fixed": "2.12"}), "2.10", True),
    ],
)
def test_which_versions_have_it(affected, version, has):
    assert bool(list(advisories.concerns(advisory(**affected), {"jinja2": version}))) is has


def test_a_lock_file_is_read():
    text = "jinja2==3.1.6 \\\n    --hash=sha256:0\nPyYAML[x]==6.0 ; python_version < '4'\n# requests==1\n"
    assert advisories.locked(text) == {"jinja2": "3.1.6", "pyyaml": "6.0"}


def archive(folder, *rows):
    file = folder / "all.zip"
    with zipfile.ZipFile(file, "w") as packed:
        for number, row in enumerate(rows):
            packed.writestr(f"{number}.json", json.dumps(row))
    return file


def test_a_hole_ends_with_1_and_is_named(tmp_path, capsys):
    lock = tmp_path / "lock.txt"
    lock.write_text("jinja2==2.10\n")
    assert advisories.main(archive(tmp_path, advisory(versions=["2.10"])), [lock]) == 1
    assert capsys.readouterr().out == "jinja2 2.10: X-1 a hole\n"
    withdrawn = advisory(versions=["2.10"]) | {"withdrawn": "2026-01-01"}
    assert advisories.main(archive(tmp_path, withdrawn, advisory(versions=["1"])), [lock]) == 0


def test_an_empty_copy_proves_nothing(tmp_path):
    assert advisories.main(archive(tmp_path), []) == 1
