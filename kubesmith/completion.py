"""What a shell completes: the verbs and options of the parser by shtab, and the names that only this machine knows."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Mapping
from typing import Any

from kubesmith import milestones, paths
from kubesmith.phases import GROUPS, PHASES

SHELLS = ("bash", "zsh", "fish", "tcsh")
COMMANDS = ("kubesmith", "./runner.py")  # under which the same program is started, beside its own name
# Machines that a provider made stand in an ssh_config; asking the inventory would take a second at each key.
NODES = (
    'sed -n "s/^Host \\([^ *?]*\\)$/\\1/p" "${KUBESMITH_STATE:-$HOME/.local/state/kubesmith}"/*/ssh_config 2>/dev/null'
)

# Neither may cost more than a moment: the names stand in the message file, and pods are not asked for.
TOURS = (
    f"sed -n '/^tours:/,$ s/^  \\([a-z][a-z0-9-]*\\):$/\\1/p' {shlex.quote(str(paths.PACKAGE))}/tour/messages/en.yml"
)


#: shtab's own way to complete paths; filled when a script is made, as shtab takes time to load.
FILES: dict[str, Any] = {}


def of(action: argparse.Action, kind: str) -> None:
    """Have the values of ``action`` completed: files, inventories, nodes, phases or milestones."""
    words = dict.fromkeys(("bash", "zsh"), f"_kubesmith_{kind}") | {"fish": f"(_kubesmith_{kind})"}
    action.complete = FILES if kind == "files" else words  # type: ignore[attr-defined]


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """Return the completion for ``shell``, to be evaluated or sourced by it."""
    import shtab  # noqa: PLC0415

    FILES.update(shtab.FILE)
    made: str = shtab.complete(parser, shell, preamble=_functions())  # type: ignore[arg-type] # a str for all shells, or one for each
    if shell == "bash":
        return made + f" {' '.join(COMMANDS)}\n"
    if shell == "fish":  # which knows ./runner.py by its last part
        return made + f"\ncomplete -c {COMMANDS[0]} -w {parser.prog}\n"
    if shell == "zsh":  # this too
        return made.replace(
            "compdef _shtab_runner_py -N runner.py", f"compdef _shtab_runner_py runner.py {COMMANDS[0]}"
        )
    return made


def _functions() -> dict[str, str]:
    folder = shlex.quote(str(paths.inventories()))
    lists = {
        "inventories": f"cd {folder} && printf '%s\\n' */cluster.yml | cut -d/ -f1",
        "nodes": NODES,
        "phases": f"printf '%s\\n' {' '.join([*PHASES, *GROUPS])}",
        "milestones": f"printf '%s\\n' {' '.join(milestones.MILESTONES)}",
        "tours": TOURS,
    }
    files: Mapping[str, Any] = {"inventories": {"bash": '; compgen -f -- "$1"', "zsh": "; _files"}}
    rows: dict[str, list[str]] = {"bash": [], "zsh": [], "fish": []}
    for name, command in lists.items():
        more = files.get(name, {})
        rows["bash"].append(f'_kubesmith_{name}() {{ compgen -W "$({command})" -- "$1"{more.get("bash", "")}; }}')
        rows["zsh"].append(f"_kubesmith_{name}() {{ compadd -- $({command}){more.get('zsh', '')}; }}")
        also = "; __fish_complete_path (commandline -ct)" if name == "inventories" else ""
        rows["fish"].append(f"function _kubesmith_{name}; sh -c {fish_quoted(command)}{also}; end")
    return {shell: "\n".join(functions) for shell, functions in rows.items()}


def fish_quoted(text: str) -> str:
    """Quote a word for fish, in which a backslash escapes a quote inside quotes."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
