"""``inspect``: a pod's whole chain, for people or programs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from rich.text import Text

from kubesmith.job import Job
from kubesmith.tour import chain, guard
from kubesmith.tour.api import Denied, Unanswered
from kubesmith.tour.nodes import Nodes
from kubesmith.tour.stage import cells, wrapped
from kubesmith.tour.texts import Texts, language

LABEL = 16  # columns
WIDTH = 80
Chain = Mapping[str, Any]


def run(job: Job, pod: str, *, namespace: str | None, chosen: str | None) -> int:
    """Show the chain of a pod; return 0, or 1 if a part of it could not be read."""
    texts = Texts(language(chosen))
    api = guard.reachable(job, texts)
    try:
        found = chain.find(api, pod, namespace, texts)
    except Unanswered as error:
        raise texts.error("unanswered", why=error) from error
    except Denied as error:
        raise texts.error("no_rights", why=error) from error
    made = chain.gather(api, Nodes(job), found)
    if job.ui.as_json:
        print(json.dumps(made, ensure_ascii=False))
    else:
        for key, values in rows(made, texts):
            _print(job, texts(f"inspect.{key}") if key else "", values)
    return 1 if failures(made) else 0


def failures(made: Chain) -> list[str]:
    """Return why parts could not be read."""
    runtime = made.get("runtime", {})
    parts = [made["etcd"], runtime, *(runtime.values() if "error" not in runtime else ())]
    return [str(part["error"]) for part in parts if isinstance(part, dict) and set(part) >= {"error"}]


def _print(job: Job, label: str, text: str) -> None:
    front = label + " " * (LABEL - cells(label))
    for index, row in enumerate(wrapped(text, WIDTH - LABEL - 1)):
        job.ui.line(Text.assemble((front if index == 0 else " " * LABEL, "bold cyan"), row), always=True)


def rows(made: Chain, texts: Texts) -> Iterator[tuple[str, str]]:
    """Yield the chain as rows of a label's key (empty for more of the same) and a text."""
    pod = made["pod"]
    yield "pod", f"{pod['namespace']}/{pod['name']}  {pod['phase']}  {pod['ip']}"
    yield "uid", pod["uid"]
    chain_of = [f"{row['kind']} {row['name']}" for row in made["owners"]]
    yield "owner", " ← ".join(chain_of) or texts("inspect.none")
    for index, row in enumerate(made["services"]):
        ready = texts("inspect.ready" if row["ready"] else "inspect.not_ready")
        yield "service" if index == 0 else "", f"{row['name']}  {row['address']}  {ready}"
    yield from _etcd(made["etcd"], texts)
    yield "node", pod["node"] or texts("inspect.no_node")
    runtime = made.get("runtime", {})
    if "error" in runtime:
        yield "runtime", runtime["error"]
    elif runtime:
        yield from _runtime(runtime, pod, texts)


def _etcd(row: Chain, texts: Texts) -> Iterator[tuple[str, str]]:
    yield "etcd", row["key"]
    if "error" in row:
        yield "", str(row["error"])
    else:
        numbers = {part: row[part] for part in ("create_revision", "mod_revision", "version")}
        yield "", texts("inspect.revisions", **numbers)


def _runtime(runtime: Chain, pod: Chain, texts: Texts) -> Iterator[tuple[str, str]]:
    processes = runtime["processes"]
    broken = isinstance(processes, dict) and set(processes) == {"error"}
    cgroup = ""
    for row in runtime["containers"]:
        seen = {} if broken else processes.get(row["id"], {})
        cgroup = cgroup or str(seen.get("cgroup", ""))
        kind = "sandbox" if row["kind"] == "sandbox" else "container"
        yield kind, f"{row['name']}  {row['id'][:13]}  {row['state']}"
        if kind == "container":
            yield "", str(row["image"])
        if seen:
            yield "process", f"{seen['pid']} ({seen['inside']})  {seen['command'][:90]}"
            yield "", texts("inspect.parent", pid=seen["parent"], command=seen["parent_command"][:60])
            yield "", "  ".join(sorted(seen["namespaces"].values()))
    if broken:
        yield "process", processes["error"]
    yield "cgroup", cgroup or "-"
    yield from _network(runtime, pod, texts)
    yield from _layers(runtime)


def _network(runtime: Chain, pod: Chain, texts: Texts) -> Iterator[tuple[str, str]]:
    if pod["host_network"]:
        yield "veth", texts("inspect.host_network")
        return
    seen = runtime.get("network", {"error": texts("inspect.no_sandbox")})
    if "error" in seen:
        yield "veth", seen["error"]
    else:
        ends = [f"{row['name']}@{row['index']}" for row in seen["outside"]]
        for row in seen["inside"]:
            yield "veth", f"{row['name']}@{row['index']} {', '.join(row['addresses'])} ↔ {', '.join(ends) or '-'}"
        yield "route", "; ".join(seen["route"]) or "-"
    rules = runtime["rules"]
    if isinstance(rules, dict):
        yield "rules", rules["error"]
        return
    for index, row in enumerate(rules[:12] or ["-"]):
        yield "rules" if index == 0 else "", row
    if len(rules) > 12:
        yield "", f"… +{len(rules) - 12}"


def _layers(runtime: Chain) -> Iterator[tuple[str, str]]:
    layers = runtime["layers"]
    if set(layers) == {"error"}:
        yield "layers", layers["error"]
        return
    for image, found in layers.items():
        yield "layers", image
        for row in found:
            yield "", f"{row['digest'][:27]}…  {row['bytes'] / 1e6:.1f} MB"
