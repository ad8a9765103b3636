"""What the tests of all scenarios share."""

from __future__ import annotations

import pytest
from testinfra.utils.ansible_runner import AnsibleRunner

from kubesmith.verify.nodes import plain


def pytest_sessionstart(session: pytest.Session) -> None:
    """Take away the mark that Ansible puts on text from outside; testinfra wants plain addresses."""
    runner = AnsibleRunner.get_runner(session.config.option.ansible_inventory)
    runner.inventory = plain(runner.inventory)
