"""Nodes put into a cluster file and taken out of it; every other line, comments included, stays as it is. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import yaml
from ansible_collections.kubesmith.cluster.plugins.plugin_utils import load
from ansible_collections.kubesmith.cluster.plugins.plugin_utils import spec as spec_module
from ansible_collections.kubesmith.cluster.plugins.plugin_utils.problems import SpecError
from ansible_collections.kubesmith.cluster.plugins.plugin_utils.spec import Spec

from kubesmith.errors import InputError

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
COUNTS = {"control-plane": "control_planes", "worker": "workers"}


def with_nodes(text: str, spec: Spec, names: Sequence[str], file: str) -> str:
    """Return the file with ``names`` in it, which it has not; InputError if it cannot say what they are.

    A file that counts its nodes gets a higher number, if ``names`` are the ones that follow. In one that lists them,
    workers of a provider that makes machines are put at the end; a machine that exists needs more than a name.
    """
    if spec.nodes:
        if spec.provider == "ssh":
            raise InputError(
                f"{file} does not list {', '.join(names)}",
                fix="write it there, with its address; then run the same command again",
            )
        changed = _listed_more(text, names)
    else:
        changed = _counted_more(text, spec, names, file)
    return _checked(changed, {node.name for node in spec.machines()} | set(names), file)


def without_nodes(text: str, spec: Spec, names: Collection[str], file: str) -> str:
    """Return the file without ``names``; InputError lists what would be wrong with the cluster that is left.

    A file that counts its nodes gets a lower number, or a list of those that are left if the numbers have a gap then.
    """
    left = [node for node in spec.machines() if node.name not in names]
    if spec.nodes:
        changed = _listed_fewer(text, names)
    else:
        counts = {role: sum(node.role == role for node in left) for role in COUNTS}
        same = spec.model_copy(update={COUNTS[role]: count for role, count in counts.items()})
        changed = text
        if [node.name for node in same.machines()] == [node.name for node in left]:
            for role, count in counts.items():
                changed = _with_count(changed, COUNTS[role], count)
        else:
            rows = [f"  - {{name: {n.name}{', role: control-plane' * (n.role != 'worker')}}}\n" for n in left]
            changed = _without_keys(text, COUNTS.values()).rstrip("\n") + "\nnodes:\n" + "".join(rows)
    return _checked(changed, {node.name for node in left}, file)


def _checked(text: str, names: set[str], file: str) -> str:
    """Return ``text`` if it is a right cluster file with exactly these nodes."""
    try:
        made = spec_module.check(load.parse(text.encode(), file), file)
    except SpecError as error:
        raise InputError(f"the cluster file would have {len(error.problems)} problem(s) then:\n{error}") from error
    if {node.name for node in made.machines()} != names:
        raise InputError(
            f"{file} is written in a way that this command cannot edit", fix="list the nodes one by one under 'nodes:'"
        )
    return text


def _counted_more(text: str, spec: Spec, names: Sequence[str], file: str) -> str:
    wanted = {node.name for node in spec.machines()} | set(names)
    now = {role: sum(node.role == role for node in spec.machines()) for role in COUNTS}
    for planes in range(len(names) + 1):
        counts = {"control-plane": now["control-plane"] + planes, "worker": now["worker"] + len(names) - planes}
        more = spec.model_copy(update={COUNTS[role]: count for role, count in counts.items()})
        if {node.name for node in more.machines()} == wanted:
            for role, key in COUNTS.items():
                if counts[role] != now[role]:
                    text = _with_count(text, key, counts[role])
            return text
    more = spec.model_copy(update={COUNTS[role]: count + 1 for role, count in now.items()})
    following = [node.name for node in more.machines() if node.name not in {n.name for n in spec.machines()}]
    raise InputError(
        f"{', '.join(names)} cannot follow: {file} counts its nodes, and the next ones are {' and '.join(following)}",
        fix="take those, or list all nodes by name under 'nodes:' instead of counting them",
    )


# --- places in the text


def _top(text: str) -> yaml.MappingNode:
    node = yaml.compose(text, Loader=LOADER)
    assert isinstance(node, yaml.MappingNode)
    return node


def _value(text: str, key: str) -> Any:
    return next((value for name, value in _top(text).value if name.value == key), None)


def _with_count(text: str, key: str, count: int) -> str:
    found = _value(text, key)
    if found is not None:
        return text[: found.start_mark.index] + str(count) + text[found.end_mark.index :]
    if _top(text).flow_style:
        end = _top(text).end_mark.index - 1
        return f"{text[:end]}, {key}: {count}{text[end:]}"
    return f"{text.rstrip()}\n{key}: {count}\n"


def _without_keys(text: str, keys: Collection[str]) -> str:
    for key in keys:
        found = next((pair for pair in _top(text).value if pair[0].value == key), None)
        if found:
            lines = text.splitlines(keepends=True)
            del lines[found[0].start_mark.line : found[1].end_mark.line + 1]
            text = "".join(lines)
    return text


def _sequence(text: str) -> yaml.SequenceNode:
    found = _value(text, "nodes")
    if not isinstance(found, yaml.SequenceNode) or not found.value:
        raise InputError("the cluster file lists no nodes", fix="list them under 'nodes:'")
    return found


def _name(item: Any) -> str:
    return next((value.value for key, value in item.value if key.value == "name"), "")


def _last(node: Any) -> Any:
    """Return the mark behind the last character of a node; a block's own end is where the next thing begins."""
    if isinstance(node, yaml.ScalarNode) or node.flow_style or not node.value:
        return node.end_mark
    last = node.value[-1]
    return _last(last[1] if isinstance(last, tuple) else last)


def _listed_more(text: str, names: Sequence[str]) -> str:
    rows = _sequence(text)
    last = _last(rows.value[-1])
    if rows.flow_style:
        more = "".join(f", {{name: {name}}}" for name in names)
        return text[: last.index] + more + text[last.index :]
    lines = text.splitlines(keepends=True)
    at = last.line + 1 if last.column else last.line
    lines[at - 1] = lines[at - 1].rstrip("\n") + "\n"
    indent = " " * rows.start_mark.column
    return "".join([*lines[:at], *(f"{indent}- {{name: {name}}}\n" for name in names), *lines[at:]])


def _listed_fewer(text: str, names: Collection[str]) -> str:
    for name in names:
        rows = _sequence(text)
        index = next((i for i, item in enumerate(rows.value) if _name(item) == name), None)
        if index is None:
            continue
        item = rows.value[index]
        if rows.flow_style:
            text = _without_item(text, rows, index)
            continue
        lines = text.splitlines(keepends=True)
        first = item.start_mark.line
        while not lines[first].lstrip().startswith("-"):  # a dash on a line of its own
            first -= 1
        last = _last(item)
        del lines[first : last.line + 1 if last.column else last.line]
        text = "".join(lines)
    return text


def _without_item(text: str, rows: yaml.SequenceNode, index: int) -> str:
    """Return the text without one item of a list in brackets, and without the comma that went with it."""
    first, last = rows.value[index].start_mark.index, rows.value[index].end_mark.index
    if index + 1 < len(rows.value):
        return text[:first] + text[rows.value[index + 1].start_mark.index :]
    if index:
        first = rows.value[index - 1].end_mark.index
    return text[:first] + text[last:]
