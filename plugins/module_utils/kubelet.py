# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Where a node's kubelet reads settings from, and what it says when it does not take them."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

from ansible_collections.kubesmith.cluster.plugins.module_utils import systemd

NAME = "50-kubesmith.conf"
FLAGS = "/var/lib/kubelet/kubeadm-flags.env"
CONFIG = "/var/lib/kubelet/config.yaml"
OPTION = "--config-dir"


def document(settings: Mapping[str, Any]) -> Optional[str]:
    """Return the file of these settings, None for none. JSON is YAML, and a node need not have a YAML writer."""
    if not settings:
        return None
    head = {"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration"}
    return json.dumps({**head, **settings}, indent=2, sort_keys=True) + "\n"


def arguments(pid: str) -> list[str]:
    """Return the arguments of process ``pid`` (a string), none where it does not run."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
    except OSError:
        return []


def folder(running: Sequence[str], flags: str) -> str:
    """Return the folder of settings that a kubelet reads: by its arguments, else by kubeadm's file; empty for none."""
    words = [*running, *flags.replace('"', " ").split()]
    for index, word in enumerate(words):
        name, sign, value = word.partition("=")
        if name == OPTION:
            return value if sign else (words[index + 1] if index + 1 < len(words) else "")
    return ""


def with_folder(flags: str, path: str) -> str:
    """Return kubeadm's file of arguments with the option that names the folder ``path``."""
    option = f"{OPTION}={path}"
    if re.search(r'^KUBELET_KUBEADM_ARGS="', flags, re.MULTILINE):
        return re.sub(r'^(KUBELET_KUBEADM_ARGS="[^"\n]*)', rf"\1 {option}", flags, count=1, flags=re.MULTILINE)
    return f'{flags}KUBELET_KUBEADM_ARGS="{option}"\n'


def stale(state: Mapping[str, str], running: Sequence[str], flags: str, path: str) -> str:
    """Return why a running kubelet does not have the settings that are in place: an interrupted run, or a hand."""
    if folder([], flags) and not folder(running, ""):
        return f"it runs without {OPTION}"
    started = systemd.start_time(state["ExecMainStartTimestampMonotonic"], time.time(), time.monotonic())
    for name in (path, str(Path(path).parent)):  # the folder is newer where the file was removed
        try:
            if started is not None and Path(name).stat().st_mtime > started:
                return f"{name} changed"
        except OSError:
            continue
    return ""


def health_address(config: str, settings: Mapping[str, Any]) -> Optional[str]:
    """Return where a kubelet with this configuration (YAML as kubeadm writes it) tells its health; None: nowhere."""
    port = settings.get("healthzPort", _plain(config, "healthzPort") or 10248)
    bind = str(settings.get("healthzBindAddress", _plain(config, "healthzBindAddress") or "127.0.0.1"))
    if int(port) == 0:
        return None
    host = "127.0.0.1" if bind in ("0.0.0.0", "::") else bind
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/healthz"


def _plain(config: str, name: str) -> str:
    found = re.search(rf"^{name}:\s*(\S+)\s*$", config, re.MULTILINE)
    return found.group(1).strip("\"'") if found else ""


def complaint(journal: str) -> str:
    """Return the kubelet's last line about what stopped it, else its last line."""
    rows = [line for line in journal.splitlines() if line.strip()]
    wrong = [row for row in rows if re.search(r"(]: E\d{4} |failed to |command failed|invalid )", row)]
    text = (wrong or rows or ["it said nothing"])[-1]
    return re.sub(r"^\S+ \S+ kubelet\[\d+\]: ", "", text)
