"""Events of many threads: each a line of its own."""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from kubesmith.ui import Ui


def test_lines_of_many_threads_stay_whole(capfd: pytest.CaptureFixture[str]) -> None:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        ui = Ui(as_json=True)
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda number: ui.event("step", number=number), range(2000)))
    finally:
        sys.setswitchinterval(before)
    assert sorted(json.loads(line)["number"] for line in capfd.readouterr().out.splitlines()) == list(range(2000))
