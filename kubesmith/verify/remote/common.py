"""What the scripts on the nodes share: commands, HTTP, kubectl, and facts that never spoil each other."""

from __future__ import annotations

import base64
import http.client as http_client
import json
import os
import re
import socket
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
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


class Refused(RuntimeError):
    """The API server's answer was no success; ``status`` is its HTTP status."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status


class Api:
    """The API server, asked with the credentials of a kubeconfig that kubeadm wrote (the administrator's).

    It takes a tenth of the CPU time that kubectl takes to start. One connection for each thread. An answer that is no
    success raises Refused with the server's message.
    """

    def __init__(self, kubeconfig: str = ADMIN) -> None:
        config = read(kubeconfig)
        self.server = _field(config, "server").removeprefix("https://")
        authority = base64.b64decode(_field(config, "certificate-authority-data")).decode()
        self.context = ssl.create_default_context(cadata=authority)
        pair = [base64.b64decode(_field(config, f"client-{half}-data")) for half in ("certificate", "key")]
        memory = os.memfd_create("pair")  # Python's TLS wants a file; this one lies on no disk
        os.write(memory, b"\n".join(pair))
        self.context.load_cert_chain(f"/proc/self/fd/{memory}")
        os.close(memory)
        self.local = threading.local()

    def raw(self, method: str, path: str, body: Any = None, kind: str = "application/json") -> str:
        """Send one request and return the body of the answer."""
        connection = getattr(self.local, "connection", None)
        if connection is None:
            connection = self.local.connection = http_client.HTTPSConnection(
                self.server, timeout=20, context=self.context
            )
        text = None if body is None else json.dumps(body)
        try:
            connection.request(method, path, text, {"Content-Type": kind, "Accept": "application/json"})
            answer = connection.getresponse()
            said: str = answer.read().decode(errors="replace")
        except Exception:
            connection.close()
            self.local.connection = None
            raise
        if answer.status >= 400:
            raise Refused(f"{method} {path}: {answer.status} {said[:600]}", answer.status)
        return said

    def get(self, path: str) -> dict[str, Any]:
        """Return one object, or a list's object."""
        answer: dict[str, Any] = json.loads(self.raw("GET", path))
        return answer

    def items(self, path: str) -> list[dict[str, Any]]:
        """Return the items of a list."""
        answer: list[dict[str, Any]] = self.get(path)["items"]
        return answer

    def create(self, path: str, item: Mapping[str, Any]) -> None:
        """Create one object."""
        self.raw("POST", path, item)

    def patch(self, path: str, change: Mapping[str, Any]) -> None:
        """Change one object by a strategic merge."""
        self.raw("PATCH", path, change, "application/strategic-merge-patch+json")

    def delete(self, path: str) -> None:
        """Delete one object, or none if it is gone already, without waiting for its end."""
        try:
            self.raw("DELETE", path)
        except Refused as error:
            if error.status != 404:
                raise


def _field(config: str, name: str) -> str:
    """Return a value of a kubeconfig as kubeadm writes it: each on a line of its own."""
    found = re.search(rf"^\s*{name}: (\S+)$", config, re.MULTILINE)
    if not found:
        raise RuntimeError(f"the kubeconfig has no {name}")
    return found[1]


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
    """Return ``open`` when a TCP connection succeeds, else the reason why not (``timed out`` where nothing answers)."""
    try:
        with socket.create_connection((address, port), timeout):
            return "open"
    except OSError as error:
        return str(error)


def read(path: str) -> str:
    """Return the text of a file."""
    return Path(path).read_text(errors="replace")


def found(*patterns: str) -> list[str]:
    """Return the absolute paths that match, sorted; ``**`` stands for any folders."""
    return sorted(str(path) for pattern in patterns for path in Path("/").glob(pattern.lstrip("/")))


def each(targets: Mapping[str, T], task: Callable[[T], Any]) -> dict[str, Callable[[], Any]]:
    """Return one task for each target, under the target's name."""
    return {name: partial(task, target) for name, target in targets.items()}


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
