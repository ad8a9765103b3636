"""Write docs/cluster-file.md from the cluster file's schema: ``python docs/cluster_reference.py``."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "collections"))
TARGET = ROOT / "docs" / "cluster-file.md"
Schema = Mapping[str, Any]


def rows(schema: Schema, parts: Mapping[str, Schema], above: str = "") -> Iterator[str]:
    """Yield a table row for each setting, those inside it directly after it."""
    for name, field in schema.get("properties", {}).items():
        options = field.get("anyOf", [field])
        default = "required" if name in schema.get("required", ()) else value(field.get("default"))
        yield f"| `{above}{name}` | {kind(options)} | {default} | {field.get('description') or about(options, parts)} |"
        for option in options:
            inner, mark = inside(option)
            if inner in parts:
                yield from rows(parts[inner], parts, f"{above}{name}{mark}.")


def inside(option: Schema) -> tuple[str, str]:
    """Return (the part that an option holds, what stands for its items in a path)."""
    for key, mark in (("items", "[]"), ("additionalProperties", ".NAME")):
        if isinstance(option.get(key), Mapping) and "$ref" in option[key]:
            return option[key]["$ref"].rpartition("/")[2], mark
    return str(option.get("$ref", "")).rpartition("/")[2], ""


def kind(options: list[Schema]) -> str:
    """Return what values a setting takes."""
    words = {"string": "text", "integer": "number", "boolean": "true, false", "array": "list", "object": "mapping"}
    found = []
    for option in options:
        if "enum" in option or "const" in option:
            found.append(", ".join(f"`{word}`" for word in option.get("enum", [option.get("const")])))
        elif option.get("type") != "null":
            types = option.get("type", "object")
            found.append(words[types if isinstance(types, str) else types[0]])
    return " or ".join(found)


def about(options: list[Schema], parts: Mapping[str, Schema]) -> str:
    """Return the description of the part that a setting is."""
    return next((parts[name]["description"] for name, _mark in map(inside, options) if name in parts), "")


def value(default: object) -> str:
    """Return what the table says of a default."""
    return "" if default in (None, {}, [], "") else f"`{default if isinstance(default, str) else json.dumps(default)}`"


def page(schema: Schema) -> str:
    """Return the page."""
    table = "\n".join(rows(schema, schema["$defs"]))
    return (ROOT / "docs" / "cluster-file.head.txt").read_text() + "\n" + table + "\n"


if __name__ == "__main__":
    from ansible_collections.kubesmith.cluster.plugins.plugin_utils.spec import schema as cluster_schema

    TARGET.write_text(page(cluster_schema()))
