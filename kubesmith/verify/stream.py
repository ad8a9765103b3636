"""A pytest plugin: writes one JSON line for each finished check to the file descriptor that the parent hands down."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

DESCRIPTOR = "KUBESMITH_VERIFY_STREAM"
NAME = "kubesmith-stream"


class Stream:
    """Tells the parent about checks while they are made."""

    def __init__(self, descriptor: int) -> None:
        self.file = os.fdopen(descriptor, "w", buffering=1)
        self.seconds: dict[str, float] = {}

    def send(self, event: str, **values: Any) -> None:
        """Write one line."""
        self.file.write(json.dumps({"event": event, **values}) + "\n")

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Tell how many checks each node has."""
        counts: dict[str, int] = {}
        for item in session.items:
            place = str(dict(item.user_properties).get("node", "cluster"))
            counts[place] = counts.get(place, 0) + 1
        self.send("collected", counts=counts)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Tell the outcome: of the call, or of a set-up that failed or skipped."""
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0.0) + report.duration
        if report.when == "call" or (report.when == "setup" and not report.passed):
            self.send("check", check=row(report, self.seconds[report.nodeid]))


def row(report: pytest.TestReport, seconds: float) -> dict[str, Any]:
    """Return the fields of a Check."""
    known: dict[str, str] = getattr(report, "kubesmith", {})
    answer: dict[str, Any] = {**known, "outcome": report.outcome, "seconds": round(seconds, 3), "test": report.nodeid}
    if report.failed:
        answer["journal"] = [
            line for title, text in report.sections if title.startswith("journal") for line in text.splitlines()
        ]
    if report.skipped and isinstance(report.longrepr, tuple):
        answer["seen"] = str(report.longrepr[2]).removeprefix("Skipped: ")
    return answer


def pytest_configure(config: pytest.Config) -> None:
    """Stream only where a parent listens."""
    if descriptor := os.environ.pop(DESCRIPTOR, ""):
        config.pluginmanager.register(Stream(int(descriptor)), NAME)
