"""``adopt``: write the cluster file of a cluster that other hands built with kubeadm. The cluster is only read."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ansible_collections.kubesmith.cluster.plugins.action.kubeconfig import write_private
from rich.console import Console
from rich.text import Text

from kubesmith import adopt, kube, paths
from kubesmith.commands.files import refuse_output, write_output
from kubesmith.commands.preflight import known_ca
from kubesmith.errors import InputError
from kubesmith.kubespray import Imported
from kubesmith.ui import Ui

ADMIN = "/etc/kubernetes/admin.conf"
CONNECT = 8  # seconds


@dataclass(frozen=True)
class Source:
    """Where the cluster is read: a kubeconfig, or a control plane that SSH reaches."""

    kubeconfig: Path | None = None
    host: str | None = None


def run(source: Source, reach: adopt.Reach, output: Path | None, ui: Ui, *, name: str = "") -> int:
    """Carry out the verb; return 0. Raises InputError for bad input, KubesmithError where the cluster does not answer.

    The kubeconfig is kept in the cluster's state folder, as for a cluster of our own.
    """
    _refuse(source, output)
    reach = replace(reach, key=_file(reach.key, "key"), known_hosts=_file(reach.known_hosts, "known-hosts"))
    with tempfile.TemporaryDirectory() as folder:
        kubeconfig = Path(folder) / "kubeconfig"
        write_private(kubeconfig, _kubeconfig(source, reach))
        live = adopt.look(kubeconfig)
        found = adopt.describe(live, reach, name)
        adopt.checked(found)
        kept = _keep(kubeconfig, str(found.data["cluster"]["name"]))
    write_output(output, found.text())
    _tell(found, _unreached(found, reach), kept, output, ui)
    return 0


def _refuse(source: Source, output: Path | None) -> None:
    if (source.kubeconfig is None) == (source.host is None):
        raise InputError(
            "adopt reads a kubeconfig or a control plane, one of the two",
            fix="give --kubeconfig FILE, or --host ADDRESS of a control plane that SSH reaches",
        )
    if source.kubeconfig is not None and not source.kubeconfig.is_file():
        raise InputError(f"{source.kubeconfig} is no file", fix="name the administrator's kubeconfig of the cluster")
    refuse_output(output)


def _file(given: str | None, option: str) -> str | None:
    """Return a file's whole path, as the cluster file is read from elsewhere; InputError if it is not there."""
    if given is None:
        return None
    path = Path(given).expanduser().absolute()
    if not path.is_file():
        raise InputError(f"{path} is no file", fix=f"name with --{option} one that is there, or leave it out")
    return str(path)


def _kubeconfig(source: Source, reach: adopt.Reach) -> str:
    """Return the kubeconfig with everything in it that it names, and only its current context."""
    if source.host is not None:
        return _fetched(source.host, reach)
    return _flat(source.kubeconfig or Path())


def _flat(file: Path) -> str:
    command = [kube.binary(), "config", "view", "--raw", "--flatten", "--minify", f"--kubeconfig={file}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode or "server:" not in done.stdout:
        raise InputError(
            f"{file} is no kubeconfig with a current context: {kube.last_line(done.stderr)}",
            fix="name the administrator's kubeconfig of the cluster",
        )
    return done.stdout


def _fetched(host: str, reach: adopt.Reach) -> str:
    """Return the administrator's kubeconfig from a control plane."""
    command = [*_ssh(host, reach), *([] if reach.user == "root" else ["sudo", "-n"]), "cat", ADMIN]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode or "server:" not in done.stdout:
        raise InputError(
            f"{ADMIN} cannot be read on {host} as {reach.user}: {kube.last_line(done.stderr)}",
            fix="name a control plane, and --user and --key that let in; or give --kubeconfig FILE",
        )
    return done.stdout


def _ssh(host: str, reach: adopt.Reach) -> list[str]:
    options = ["-o", "BatchMode=yes", "-o", f"ConnectTimeout={CONNECT}", "-p", str(reach.port)]
    options += ["-i", reach.key] if reach.key else []
    options += ["-o", f"UserKnownHostsFile={reach.known_hosts}"] if reach.known_hosts else []
    options += ["-J", reach.bastion] if reach.bastion else []
    return ["ssh", *options, f"{reach.user}@{host}"]


def _keep(kubeconfig: Path, name: str) -> Path:
    """Put the kubeconfig where every verb looks for it; InputError if another cluster of that name is there."""
    state = paths.state(name)
    target = state / "kubeconfig"
    if target.exists() and known_ca(target) != known_ca(kubeconfig):
        raise InputError(
            f"there is another cluster {name} already: {target} is of another CA", fix="give this one a --name"
        )
    paths.make_private(state)
    write_private(target, kubeconfig.read_text())
    return target


def _unreached(found: Imported, reach: adopt.Reach) -> list[str]:
    """Return a sentence for each node that SSH does not reach."""
    nodes: Sequence[dict[str, Any]] = found.data["nodes"]

    def look(node: dict[str, Any]) -> str:
        command = [*_ssh(str(node["address"]), reach), "true"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        return f"{node['name']} at {node['address']}: {kube.last_line(done.stderr)}" if done.returncode else ""

    with ThreadPoolExecutor(max_workers=16) as pool:
        return [text for text in pool.map(look, nodes) if text]


def _tell(found: Imported, unreached: Sequence[str], kubeconfig: Path, output: Path | None, ui: Ui) -> None:
    if ui.as_json and output is not None:
        became = {"kept": found.kept, "translated": found.translated, "ignored": found.ignored}
        name = found.data["cluster"]["name"]
        print(json.dumps({"cluster": name, "file": str(output), "unreached": list(unreached), **became}))
        return
    words = Console(stderr=True, highlight=False)
    parts = (("kept", found.kept), ("translated", found.translated), ("ignored", found.ignored))
    for title, rows in (*parts, ("no SSH", unreached)) if not ui.quiet else ():
        for row in rows:
            words.print(Text.assemble((f"{title:<11}", "bold"), row), soft_wrap=True)
    if not ui.quiet:
        words.print(f"the kubeconfig is kept in {kubeconfig}; next: plan -i {output or 'FILE'}", soft_wrap=True)
