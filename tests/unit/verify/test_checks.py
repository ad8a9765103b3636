"""The checks as a whole: numbered, sentences, and told in the documentation."""

import ast
import re
from pathlib import Path

import pytest

from kubesmith.verify import run

ROOT = Path(__file__).parents[3]
CHECKS = [
    node
    for file in sorted(run.CHECKS.glob("test_*.py"))
    for node in ast.parse(file.read_text()).body
    if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda node: node.name)
def test_check_has_a_number_and_a_sentence(check):
    assert re.fullmatch(r"[A-J]\d+: \S.*[^.]", ast.get_docstring(check) or "")


def test_documentation_lists_every_check_and_no_other():
    told = re.findall(r"^\| ([A-Z]\d+) \| (.+?) \| ", (ROOT / "docs/verify.md").read_text(), re.MULTILINE)
    assert sorted(told) == sorted(tuple(ast.get_docstring(check).split(": ", 1)) for check in CHECKS)


@pytest.mark.parametrize("check", CHECKS, ids=lambda node: node.name)
def test_check_can_fail(check):
    assert any(isinstance(node, ast.Assert) for node in ast.walk(check)), "a check without an assertion passes always"
