"""Write each role's README from its argument specs: ``python docs/role_readme.py``; the specs are the only source."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

ROLES = Path(__file__).resolve().parent.parent / "roles"
Option = Mapping[str, Any]


def readme(role: Path) -> str:
    """Return the README of the role in folder ``role``."""
    spec = yaml.safe_load((role / "meta" / "argument_specs.yml").read_text())["argument_specs"]["main"]
    required = [name for name, option in spec["options"].items() if option.get("required")]
    lines = [f"# {role.name}", "", spec["short_description"] + ".", "", *map(plain, spec["description"]), ""]
    lines += ["## Use", "", "```yaml", *example(role.name, required), "```", ""]
    lines += ["## Variables", "", "| variable | type | default | meaning |", "|---|---|---|---|"]
    lines += [row for name, option in spec["options"].items() for row in rows(name, option)]
    return "\n".join([*lines, "", "Written by `docs/role_readme.py` from `meta/argument_specs.yml`.", ""])


def example(role: str, required: list[str]) -> Iterator[str]:
    """Yield the lines of a play that uses the role."""
    yield f"- hosts: {'kube_control_plane' if role in ('kubeadm_master', 'calico') else 'all'}"
    yield "  roles:"
    yield f"    - role: kubesmith.cluster.{role}"
    if required:
        yield "      vars:"
    for name in required:
        yield f'        {name}: "{{{{ … }}}}"'


def rows(name: str, option: Option) -> Iterator[str]:
    """Yield the table rows of an option and of those below it."""
    kind = f"list of {option['elements']}" if option.get("elements") else option["type"]
    meaning = " ".join(map(plain, listed(option["description"])))
    if option.get("choices"):
        meaning += " One of " + ", ".join(f"`{choice}`" for choice in option["choices"]) + "."
    yield f"| `{name}` | {kind} | {default(option, '.' in name)} | {meaning} |"
    for below, sub in (option.get("options") or {}).items():
        yield from rows(f"{name}{'[]' if option.get('elements') else ''}.{below}", sub)


def default(option: Option, nested: bool) -> str:
    """Return what the table says of an option's default."""
    if option.get("required"):
        return "required"
    if "default" not in option:
        return "" if nested else "none"
    value = option["default"]
    text = value if isinstance(value, str) and value else yaml.safe_dump(value, default_flow_style=True).split("\n")[0]
    return f"`{text}`"


def listed(text: str | list[str]) -> list[str]:
    """Return a description as a list of sentences."""
    return [text] if isinstance(text, str) else text


def plain(text: str) -> str:
    """Return a description with Ansible's markup as Markdown."""
    text = re.sub(r"[PM]\(kubesmith\.cluster\.(\w+)(#\w+)?\)", r"`\1`", text)
    return re.sub(r"[VCO]\(([^()]*)\)", r"`\1`", text)


def main() -> None:
    """Write every README."""
    for role in sorted(path.parent.parent for path in ROLES.glob("*/meta/argument_specs.yml")):
        (role / "README.md").write_text(readme(role))


if __name__ == "__main__":
    main()
