"""Which interruptions there are, and a choice of them by a seed. Pure."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

NODES = ("cp1", "w1")
FAULTS = ("kill-runner", "kill-all", "ssh-cut", "power-off", "disk-full", "slow-disk", "bundle-gone", "packet-loss")
#: What a lab cannot show, and why: told in the report, never counted as tried.
NOT_APPLICABLE = {"clock-jump": "lab nodes are containers, which share this machine's clock"}
#: Phases in which nodes read the bundle.
READS_BUNDLE = ("runtime", "control-plane", "network", "workers")


@dataclass(frozen=True)
class Moment:
    """A verb and one of its phases, by the name that --json tells; an empty phase is any time of the run."""

    verb: tuple[str, ...]
    phase: str

    def __str__(self) -> str:
        """Return the words of a case's name."""
        return " ".join(self.verb) + (f":{self.phase}" if self.phase else "")


@dataclass(frozen=True)
class Case:
    """A fault at a moment: on ``node``, after ``fraction`` of the time that the phase usually takes."""

    moment: Moment
    fault: str
    node: str
    fraction: float

    @property
    def id(self) -> str:
        """Return the name by which it is told, kept and resumed."""
        return f"{self.moment} {self.fault} {self.node} {self.fraction:.2f}".replace(" ", "-").replace(":", "-")


#: Phases of `up`; the second is the name of the play or phase that its beginning is told by.
UP = {
    "nodes": "nodes",
    "preflight": "look-at-the-nodes",
    "runtime": "runtime-and-control-plane",
    "control-plane": "runtime-and-control-plane",
    "network": "network-and-workers",
    "workers": "network-and-workers",
    "ready": "ready",
    "verify": "verify",
}
OTHERS = (("certs", "renew"), ("secrets", "rotate"))


def moments(verbs: Sequence[str]) -> list[Moment]:
    """Return all moments; ``verbs`` are the verbs of the command line, of which those that change a cluster count."""
    found = [Moment(("up",), phase) for phase in UP]
    found += [Moment(words, "") for words in OTHERS if words[0] in verbs]
    return found + [Moment((verb,), "") for verb in ("backup",) if verb in verbs]


def sensible(moment: Moment, fault: str) -> bool:
    """Tell whether a fault can happen then: before a node is looked at, nothing of it can be full or slow."""
    if fault == "bundle-gone":
        return moment.phase in READS_BUNDLE
    if moment.phase == "nodes":
        return fault in ("kill-runner", "kill-all", "power-off", "disk-full")
    return True


def choose(verbs: Sequence[str], seed: int, count: int) -> list[Case]:
    """Return ``count`` cases in a random order: every sensible pair once before any comes again."""
    chance = random.Random(seed)
    pairs = [(moment, fault) for moment in moments(verbs) for fault in FAULTS if sensible(moment, fault)]
    chosen: list[Case] = []
    while len(chosen) < count:
        chance.shuffle(pairs)
        for moment, fault in pairs[: count - len(chosen)]:
            node = "cp1" if moment.verb != ("up",) else chance.choice(NODES)
            chosen.append(Case(moment, fault, node, round(chance.uniform(0.02, 0.95), 2)))
    return chosen


def part(cases: Sequence[Case], text: str) -> list[Case]:
    """Return the cases of a part such as 2/6; ValueError for what is none."""
    index, _slash, parts = text.partition("/")
    if not 1 <= int(index) <= int(parts):
        raise ValueError(f"{text} is no part such as 2/6")
    return list(cases[int(index) - 1 :: int(parts)])
