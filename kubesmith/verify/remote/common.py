"""What the scripts on the nodes share: commands, HTTP, kubectl, and facts that never spoil each other."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

ADMIN = "/etc/kubernetes/admin.conf"
BUNDLE = "/var/lib/kubesmith/bundle/bundle.json"
DIRECT = urllib.request.ProxyHandler({})  # a site's http_proxy has no business between a node and its cluster


def run(*command: str, text: str = "", timeout: float = 20) -> str:
    """Return the command's standard output, stripped; raise RuntimeError with its error output when it fails."""
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=timeout, check=False)
    if done.returncode:
        said = (done.stderr or done.stdout).strip()
        raise RuntimeError(f"{' '.join(command)}: exit {done.returncode}: {said[-600:]}")
    return done.stdout.strip()


def kubectl(*arguments: str, text: str = "", timeout: float = 20) -> str:
    """Run kubectl as administrator; the output is returned, a failure raises."""
    return run(
        "kubectl",
        "--kubeconfig",
        ADMIN,
        f"--request-timeout={int(timeout)}s",
        *arguments,
        text=text,
        timeout=timeout + 5,
    )


def objects(*arguments: str) -> list[dict[str, Any]]:
    """Return the items that ``kubectl get … -o json`` lists."""
    answer: dict[str, Any] = json.loads(kubectl("get", *arguments, "-o", "json"))
    items: list[dict[str, Any]] = answer.get("items", [answer])
    return items


def http(url: str, timeout: float = 3) -> tuple[int, str]:
    """Return status and body of a GET without credentials, certificates unchecked; 0 and the reason if none came."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    opener = urllib.request.build_opener(DIRECT, urllib.request.HTTPSHandler(context=context))
    try:
        with opener.open(url, timeout=timeout) as answer:
            return answer.status, answer.read().decode(errors="replace")
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(errors="replace")
    except OSError as error:
        return 0, str(getattr(error, "reason", error))


def connects(address: str, port: int, timeout: float = 2) -> str:
    """Return ``open`` when a TCP connection succeeds, else the reason why not."""
    try:
        with socket.create_connection((address, port), timeout):
            return "open"
    except OSError as error:
        return str(error)


def read(path: str) -> str:
    """Return the text of a file."""
    return Path(path).read_text(errors="replace")


def until(condition: Callable[[], Any], seconds: float, pause: float = 0.2) -> Any:
    """Call ``condition`` until it answers something true or the time is up; return its last answer."""
    deadline = time.monotonic() + seconds
    while True:
        answer = condition()
        if answer or time.monotonic() > deadline:
            return answer
        time.sleep(pause)


def together(tasks: Mapping[str, Callable[[], Any]]) -> dict[str, Any]:
    """Run the tasks in parallel; a task that raises yields ``{"error": reason}`` and spoils no other."""
    answers: dict[str, Any] = {}

    def one(name: str, task: Callable[[], Any]) -> None:
        try:
            answers[name] = task()
        except Exception as error:  # whatever it is, the check that wanted this fact reports it
            answers[name] = {"error": f"{type(error).__name__}: {error}"}

    threads = [threading.Thread(target=one, args=item) for item in tasks.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def first_match(lines: Iterable[str], start: str) -> str:
    """Return the first line that starts so, stripped, or nothing."""
    return next((line.strip() for line in lines if line.strip().startswith(start)), "")
