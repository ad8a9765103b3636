"""Why a pod is called what it is called: from its owners and their hashes; pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

#: What Kubernetes makes random endings of (apimachinery/pkg/util/rand): no vowels, no 0, 1 or 3, so that no word comes.
LETTERS = "bcdfghjklmnpqrstvwxz2456789"
SUFFIX = re.compile(f"[{LETTERS}]{{5}}")
HASH = "pod-template-hash"
MIRROR = "kubernetes.io/config.mirror"
Object = Mapping[str, Any]


@dataclass(frozen=True)
class Name:
    """How a pod came to its name.

    ``rule`` is ``deployment``, ``replicaset``, ``daemonset``, ``static``, ``statefulset``, ``job``, ``other`` (an owner
    of another kind) or ``bare``. ``parts`` are its pieces with what each is (owner, hash, suffix, node, ordinal, name).
    ``why`` is empty where the name follows the rule, else the piece that does not.
    """

    namespace: str
    pod: str
    rule: str
    parts: Sequence[tuple[str, str]]
    phase: str
    why: str = ""

    @property
    def ok(self) -> bool:
        """Tell whether the name is what the rule makes of the owner."""
        return not self.why


def explain(pods: Iterable[Object], owners: Iterable[Object]) -> list[Name]:
    """Return every pod's name explained. ``owners`` are ReplicaSets and Jobs, whose own owners count too."""
    known = {(item["kind"], item["metadata"]["uid"]): item for item in owners}
    rows = [_one(pod, known) for pod in pods]
    return sorted(rows, key=lambda row: (row.namespace, row.pod))


def _one(pod: Object, known: Mapping[tuple[str, str], Object]) -> Name:
    meta, name = pod["metadata"], pod["metadata"]["name"]
    owner = next((row for row in meta.get("ownerReferences", ()) if row.get("controller")), None)
    if owner is None:
        rule, parts, why = "bare", [("name", name)], ""
    else:
        rule, parts, why = _owned(pod, owner, known)
    return Name(meta["namespace"], name, rule, tuple(parts), pod.get("status", {}).get("phase", ""), why)


def _owned(
    pod: Object, owner: Object, known: Mapping[tuple[str, str], Object]
) -> tuple[str, list[tuple[str, str]], str]:
    name, kind = pod["metadata"]["name"], owner["kind"]
    if kind == "ReplicaSet":
        return _of_replicaset(pod, owner, known)
    if kind == "Node":
        return _split("static", name, owner["name"], "node", before=True)
    if kind == "StatefulSet":
        rule, parts, why = _split("statefulset", name, owner["name"], "ordinal")
        return rule, parts, why or ("" if parts[-1][1].isdigit() else "ordinal")
    rules = {"DaemonSet": "daemonset", "Job": "job"}
    rule, parts, why = _split(rules.get(kind, "other"), name, owner["name"], "suffix")
    indexed = kind == "Job" and re.fullmatch(rf"\d+-[{LETTERS}]{{5}}", parts[-1][1])  # of an indexed Job
    return rule, parts, why or ("" if kind not in rules or indexed or SUFFIX.fullmatch(parts[-1][1]) else "suffix")


def _of_replicaset(
    pod: Object, owner: Object, known: Mapping[tuple[str, str], Object]
) -> tuple[str, list[tuple[str, str]], str]:
    meta = pod["metadata"]
    rule, parts, why = _split("replicaset", meta["name"], owner["name"], "suffix")
    why = why or ("" if SUFFIX.fullmatch(parts[-1][1]) else "suffix")
    made = known.get(("ReplicaSet", owner.get("uid", "")), {"metadata": {}})
    above = next((row for row in made["metadata"].get("ownerReferences", ()) if row["kind"] == "Deployment"), None)
    if above is None or why:
        return rule, parts, why
    digest = meta.get("labels", {}).get(HASH, "")
    whole = [("owner", above["name"]), ("hash", digest), parts[-1]]
    return "deployment", whole, "" if owner["name"] == f"{above['name']}-{digest}" else "hash"


def _split(
    rule: str, name: str, owner: str, rest: str, *, before: bool = False
) -> tuple[str, list[tuple[str, str]], str]:
    """Split a name into its owner's and the rest: ``OWNER-REST``, or with ``before`` ``NAME-OWNER``.

    Kubernetes shortens an owner's name that leaves no place for five letters (58 letters stay of it).
    """
    if before:
        if not name.endswith(f"-{owner}"):
            return rule, [("name", name)], rest
        return rule, [("name", name[: -len(owner) - 1]), (rest, owner)], ""
    stem = f"{owner}-"
    if rest != "ordinal" and not name.startswith(stem):
        stem = stem[:58]
    if not name.startswith(stem) or name == stem:
        return rule, [("name", name)], "owner"
    return rule, [("owner", stem.rstrip("-")), (rest, name[len(stem) :])], ""


def waiting(pods: Iterable[Object]) -> list[str]:
    """Return the pods that are Pending, as NAMESPACE/NAME: by the lecture's rule there are none."""
    rows = [pod["metadata"] for pod in pods if pod.get("status", {}).get("phase") == "Pending"]
    return sorted(f"{meta['namespace']}/{meta['name']}" for meta in rows)


def told(row: Mapping[str, Any], text: Callable[..., str]) -> str:
    """Return why a pod is called so, in words; ``row`` has ``rule`` and ``parts`` of a Name, ``text`` the texts."""
    pieces = " + ".join(f"{piece} ({text(f'parts.{kind}')})" for kind, piece in row["parts"])
    rule = text(f"rules.{row['rule']}")
    return f"{rule}: {pieces}"
