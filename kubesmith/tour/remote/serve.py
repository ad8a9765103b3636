"""On any node: addresses are asked again and again until a file is gone; the answer is how often each one answered."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

from kubesmith.tour.remote.flow import fetch

MISSED = 20  # failures that are told


def follow(url: str, flag: Path, deadline: float, pause: float) -> dict[str, Any]:
    """Ask one address until the flag is gone; times are seconds since the epoch."""
    sent = good = 0
    missed: list[list[Any]] = []
    while flag.exists() and time.time() < deadline:
        at = time.time()
        status, body = fetch(url, 1)
        sent += 1
        good += status == 200
        if status != 200 and len(missed) < MISSED:
            missed.append([at, f"{status or ''} {body}".strip()[:80]])
        time.sleep(max(0.0, pause - (time.time() - at)))
    return {"sent": sent, "good": good, "missed": missed}


def main(question: dict[str, Any]) -> dict[str, Any]:
    """Follow every address of ``urls`` (by name) until ``flag``, a file made here, is removed."""
    flag = Path(question["flag"])
    flag.touch()
    deadline = time.time() + question["seconds"]
    answers: dict[str, Any] = {}

    def one(name: str, url: str) -> None:
        answers[name] = follow(url, flag, deadline, question["pause"])

    threads = [threading.Thread(target=one, args=item) for item in question["urls"].items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers
