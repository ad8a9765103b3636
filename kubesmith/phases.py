"""The phases of ``up`` by name, and the choice of those that a run carries out. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence

from kubesmith.errors import InputError

BEFORE = ("bundle", "nodes", "preflight")
CONVERGE = ("runtime", "control-plane", "network", "workers", "ready")  # tags of playbooks/site.yml
PHASES = (*BEFORE, *CONVERGE, "verify")
GROUPS: Mapping[str, tuple[str, ...]] = {"converge": CONVERGE}  # names of several phases at once


def chosen(
    *, first: str | None = None, last: str | None = None, only: Sequence[str] = (), skip: Sequence[str] = ()
) -> frozenset[str]:
    """Return the phases from ``first`` to ``last``, or ``only`` those named, without ``skip``.

    Raises InputError for a name that is no phase, for ``only`` beside the other two, for an order that is reversed, and
    for a choice that leaves nothing to do.
    """
    if only and (first is not None or last is not None):
        other = f"--from {first}" if first is not None else f"--to {last}"
        raise _refused(f"--only {only[0]} and {other} exclude each other")
    if only:
        wanted = [phase for name in only for phase in _named(name)]
    else:
        begin = _named(PHASES[0] if first is None else first)[0]
        end = _named(PHASES[-1] if last is None else last)[-1]
        if PHASES.index(begin) > PHASES.index(end):
            raise _refused(f"--from {first or begin} comes after --to {last or end}")
        wanted = list(PHASES[PHASES.index(begin) : PHASES.index(end) + 1])
    left = frozenset(wanted) - frozenset(skip)
    if not left:
        raise _refused(f"nothing is left to do: --skip-{skip[0]} leaves out the only phase that is wanted")
    return left


def tags(phases: frozenset[str]) -> str:
    """Return the tags of the playbook for the wanted phases; an empty string for the whole of it."""
    wanted = [phase for phase in CONVERGE if phase in phases]
    return "" if len(wanted) == len(CONVERGE) else ",".join(wanted)


def _named(name: str) -> tuple[str, ...]:
    if name in PHASES:
        return (name,)
    if name in GROUPS:
        return GROUPS[name]
    near = difflib.get_close_matches(name, [*PHASES, *GROUPS], n=1, cutoff=0.5)
    raise _refused(f"{name[:80]!r} is not a phase", f"did you mean {near[0]}? " if near else "")


def _refused(text: str, meant: str = "") -> InputError:
    groups = "; ".join(f"{name} is {', '.join(parts)}" for name, parts in GROUPS.items())
    return InputError(text, fix=f"{meant}phases, in order: {', '.join(PHASES)} ({groups})")
