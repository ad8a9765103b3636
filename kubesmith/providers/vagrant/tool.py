"""The vagrant command line, for the machines of one cluster."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kubesmith import paths
from kubesmith.errors import InputError, KubesmithError

#: What vagrant says when it fails, and what that means for us: exit code 2 where nothing was touched.
KNOWN: tuple[tuple[str, str, str], ...] = (
    (
        r"[Bb]ox .* could not be found|couldn't be (found|accessed)|occurred while downloading the remote file",
        "the box {box} is neither at hand nor to be had from a registry",
        "python3 runner.py box build, or name another: vagrant.box",
    ),
    (
        r"failed to connect socket|virConnectOpen failed|[Ee]rror while connecting to [Ll]ibvirt",
        "libvirt does not answer",
        "systemctl start libvirtd; and be root or in the group libvirt",
    ),
    (
        r"provider '.*' could not be found|provider .* that was requested .* is reporting",
        "Vagrant cannot use {hypervisor}",
        "install it, or name the other: vagrant.hypervisor",
    ),
    (
        r"[Cc]annot allocate memory|[Nn]ot enough memory",
        "this machine has not enough memory for another one",
        "stop something, or give less: vagrant.worker_memory",
    ),
    (r"No space left on device", "this machine's disk is full", "free some and run the same command again"),
    (
        r"[Tt]imed out while waiting for the machine to boot",
        "a machine did not boot in time",
        "run the same command again; with `vagrant up --debug` if it stays",
    ),
)
NOISE = re.compile(r"Progress: \d+%|^\s*$")


@dataclass(frozen=True)
class Vagrant:
    """Runs vagrant for the machines of the design in the file ``design``; it remembers them in ``dotfile``."""

    design: Path
    dotfile: Path
    log: Path
    box: str = ""
    hypervisor: str = ""

    @property
    def environment(self) -> dict[str, str]:
        """What `vagrant` finds in its environment; ours alone, lest the caller's Vagrantfile be meant."""
        return os.environ | {
            "VAGRANT_CWD": str(paths.CHECKOUT),
            "VAGRANT_DOTFILE_PATH": str(self.dotfile),
            "VAGRANT_CHECKPOINT_DISABLE": "1",
            "VAGRANT_DEFAULT_PROVIDER": self.hypervisor,
            "VAGRANT_NO_COLOR": "1",
            "KUBESMITH_DESIGN": str(self.design),
            "LC_ALL": "C.UTF-8",
        }

    def run(self, *arguments: str, told: Callable[[str, str], None] | None = None) -> str:
        """Run vagrant and return its output; ``told`` gets each line that it says of a machine.

        It runs out of the terminal's reach: ^C waits for the step that it is at, and leaves no half machine.
        """
        command = ["vagrant", *arguments]
        lines: list[str] = []
        with (
            self.log.open("a") as record,
            subprocess.Popen(
                command,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,
            ) as process,
        ):
            record.write(f"$ {shlex.join(command)}\n")
            for raw in process.stdout or ():
                line = raw.replace("\r", "\n").rstrip("\n").rpartition("\n")[2]
                if NOISE.search(line):
                    continue
                record.write(line + "\n")
                lines.append(line)
                if told and (said := re.match(r"(?:==>|\s+) ([a-z0-9.-]+): (.+)", line)):
                    told(said[1], said[2].strip())
        if process.returncode:
            raise self._failure(arguments, lines)
        return "\n".join(lines)

    def _failure(self, arguments: Sequence[str], lines: Sequence[str]) -> KubesmithError:
        """Return the error for a vagrant that failed: in our words where we know what it means, else in its own."""
        text = " ".join(line.strip() for line in lines)  # it breaks its sentences into lines
        for pattern, meaning, fix in KNOWN:
            if re.search(pattern, text):
                return InputError(meaning.format(box=self.box, hypervisor=self.hypervisor), fix=fix)
        last = next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
        return KubesmithError(f"`vagrant {' '.join(arguments)}` failed: {last}", fix=f"see {self.log}")

    def states(self) -> dict[str, str]:
        """Return Vagrant's word for the state of each machine of the design."""
        rows = [line.split(",") for line in self.run("status", "--machine-readable").splitlines()]
        return {row[1]: row[3] for row in rows if len(row) > 3 and row[2] == "state"}

    def identities(self) -> dict[str, str]:
        """Return the hypervisor's id of each machine that was made; another id is another machine."""
        files = self.dotfile.glob("machines/*/*/id")
        return {file.parent.parent.name: file.read_text().strip() for file in files}

    def reach(self, names: Sequence[str]) -> str:
        """Return how Vagrant itself reaches these machines: the text of an ssh_config, without host keys."""
        return self.run("ssh-config", *names)

    def snapshots(self, name: str) -> list[str]:
        """Return the names of a machine's snapshots."""
        rows = [line.split(",") for line in self.run("snapshot", "list", name, "--machine-readable").splitlines()]
        told = [row[-1] for row in rows if len(row) > 3 and row[2] == "ui" and row[3] in ("output", "detail")]
        return [word.strip() for word in told if re.fullmatch(r"[\w.-]+", word.strip())]


def entries(ssh_config: str) -> dict[str, Mapping[str, str]]:
    """Return the settings of each host in what ``vagrant ssh-config`` prints."""
    found: dict[str, dict[str, str]] = {}
    host: dict[str, str] = {}
    for line in ssh_config.splitlines():
        key, _, value = line.strip().partition(" ")
        if key == "Host":
            host = found.setdefault(value, {})
        elif key and not line.startswith("#"):
            host.setdefault(key, value.strip('"'))
    return dict(found)
