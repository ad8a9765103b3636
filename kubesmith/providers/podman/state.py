"""A node's state as podman keeps it: what its container wrote, and its volumes; copied aside and back."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubesmith.errors import InputError, KubesmithError
from kubesmith.providers.podman.engine import exists, podman, podman_json
from kubesmith.providers.podman.lab import CLUSTER, SNAPSHOT, Container, Lab
from kubesmith.providers.podman.node_image import recipe

REPOSITORY = "localhost/kubesmith/snapshot"
SPARE_MB = 1024  # left free beside a snapshot: the nodes go on writing


@dataclass(frozen=True)
class Kept:
    """The snapshot ``name`` of a lab, in podman: an image and copies of the volumes for each node, all labelled."""

    lab: Lab
    name: str

    def image(self, node: str) -> str:
        """Return the image that holds what the node's container wrote."""
        return f"{REPOSITORY}/{self.lab.cluster}/{node}:{self.name}"

    def volumes(self, node: str) -> dict[str, str]:
        """Return the node's volumes, each with the name of its copy."""
        return {volume: f"{volume}.{self.name}" for volume in self.lab.volumes(node)}

    def check_whole(self, nodes: Sequence[str]) -> None:
        """Refuse if podman lacks a part: somebody removed it by hand."""
        parts = [("image", self.image(node)) for node in nodes]
        parts += [("volume", copy) for node in nodes for copy in self.volumes(node).values()]
        for kind, name in parts:
            if not exists(kind, name):
                raise InputError(
                    f"the snapshot {self.name!r} is not whole: podman has no {kind} {name}",
                    fix=f"python3 runner.py snapshot delete {self.name}; it cannot be restored",
                )

    def take(self, container: Container) -> None:
        """Copy the state of a node that is stopped."""
        labels = {CLUSTER: self.lab.cluster, SNAPSHOT: self.name}
        changes = [f"CMD {json.dumps(recipe.COMMAND)}", "STOPSIGNAL SIGRTMIN+3"]
        changes += [f"LABEL {key}={value}" for key, value in labels.items()]
        flags = [flag for change in changes for flag in ("--change", change)]
        podman("commit", "--quiet", "--pause=false", *flags, container.name, self.image(container.node))
        for volume, copy in self.volumes(container.node).items():
            podman("volume", "create", *(f"--label={key}={value}" for key, value in labels.items()), copy)
            _copy(volume, copy)

    def put_back(self, node: str) -> None:
        """Put copies of the kept volumes in the place of the node's, whose container must be gone."""
        for volume, copy in self.volumes(node).items():
            podman("volume", "rm", "--force", volume, check=False)
            podman("volume", "create", f"--label={CLUSTER}={self.lab.cluster}", volume)
            _copy(copy, volume)

    def give_modes(self, node: str) -> None:
        """Give the folders of a node that runs their own modes again: podman sets those of the image at first use."""
        for volume, copy in self.volumes(node).items():
            for tool in ("chown", "chmod"):
                subprocess.run([tool, f"--reference={_folder(copy)}", str(_folder(volume))], check=True)

    def remove(self) -> bool:
        """Remove all that podman has of the snapshot; tell whether there was anything.

        An image of which a node's container is made only loses its name; it goes with the lab.
        """
        volumes = [entry["Name"] for entry in _labelled(self.lab, "volume", "ls") if _snapshot(entry) == self.name]
        if volumes:
            podman("volume", "rm", "--force", *volumes)
        prefix = f"{REPOSITORY}/{self.lab.cluster}/"
        names = [name for entry in _labelled(self.lab, "images") for name in entry.get("Names") or []]
        images = [name for name in names if name.startswith(prefix) and name.endswith(f":{self.name}")]
        used = {entry["Image"] for entry in podman_json("ps", "--all")}
        for image in images:
            podman(*(("untag",) if image in used else ("rmi",)), image)
        return bool(volumes or images)


def remains(lab: Lab, known: Sequence[str]) -> list[str]:
    """Return the names of snapshots of which podman has parts and that are not among ``known``."""
    images = [entry for entry in _labelled(lab, "images") if entry.get("Names")]
    found = {_snapshot(entry) for entry in [*_labelled(lab, "volume", "ls"), *images]}
    return sorted(found - {""} - set(known))


def _labelled(lab: Lab, *listing: str) -> list[dict[str, Any]]:
    """Return podman's volumes or images of the lab. Of two filters by label podman 4 heeds only one, for volumes."""
    return podman_json(*listing, "--filter", f"label={CLUSTER}={lab.cluster}")


def _snapshot(entry: Mapping[str, Any]) -> str:
    return str((entry.get("Labels") or {}).get(SNAPSHOT, ""))


def size_mb(lab: Lab, containers: Sequence[Container]) -> int:
    """Return the disk in MiB that a snapshot of ``containers`` takes: their volumes, and what they wrote beside."""
    folders = [_folder(volume) for container in containers for volume in lab.volumes(container.node)]
    words = subprocess.run(
        ["du", "--summarize", "--total", "--block-size=1M", *map(str, folders)],
        capture_output=True,
        text=True,
        check=False,
    ).stdout.split("\n")
    volumes = int(words[-2].split()[0]) if folders else 0
    names = {container.name for container in containers}
    entries = podman_json("ps", "--all", "--size")
    written: int = sum(entry["Size"]["rwSize"] for entry in entries if entry["Names"][0] in names)
    return volumes + written // 2**20


def check_disk(needed: int) -> None:
    """Refuse if podman's disk has not ``needed`` MiB and some to spare."""
    folder = podman("info", "--format={{.Store.GraphRoot}}").strip()
    free = shutil.disk_usage(folder).free // 2**20
    if free < needed + SPARE_MB:
        raise InputError(
            f"the snapshot takes {needed} MiB, {SPARE_MB} MiB are to stay free, and {folder} has {free} MiB",
            fix="free some, or delete another snapshot",
        )


def _folder(volume: str) -> Path:
    return Path(podman("volume", "inspect", "--format={{.Mountpoint}}", volume).strip())


def _copy(source: str, target: str) -> None:
    """Copy a volume's content; blocks are shared where the file system can."""
    command = ["setpriv", "--pdeathsig", "KILL", "cp", "--archive", "--reflink=auto"]
    done = subprocess.run(
        [*command, f"{_folder(source)}/.", str(_folder(target))], capture_output=True, text=True, check=False
    )
    if done.returncode:
        words = done.stderr.strip().splitlines() or ["it said nothing"]
        raise KubesmithError(f"copying the volume {source} failed: {words[-1]}", fix="run the same command again")
