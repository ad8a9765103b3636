"""The command line: words to a verb, and the one place where an error becomes an exit code."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import errno
import json
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from rich.console import Console
from rich.text import Text

from kubesmith import __version__, bootstrap, completion, job, manual, paths
from kubesmith.errors import InputError, KubesmithError
from kubesmith.phases import chosen
from kubesmith.tour.texts import LANGUAGES
from kubesmith.ui import Ui

if TYPE_CHECKING:
    from kubesmith.controllers.engines import Engine

PASSED_ON = {"kubectl", "ssh"}  # verbs whose further words belong to another program
#: Options that may stand before, or without, a verb.
WITH_VALUE = {"-i", "--inventory", "--from", "--to", "--only", "--controllers", "--tls"}
WITHOUT_CLUSTER = {"completion", "schema", "import", "adopt", "bundle", "box", "controllers"}
ENTERING = {
    "cis",
    "preflight",
    "verify",
    "gather",
    "repair",
    "reset",
    "sbom",
    "secrets",
    "upgrade",
    "tour",
    "inspect",
    "backup",
    "restore",
}  # machines; so do up and plan, which look for themselves
KEEPING_TOUR = {"down", "destroy", "reset"}  # after these nothing is left that a killed tour could have changed
TOUR_ACTIONS = ("list", "run", "all", "quiz", "check", "restore")
EXIT_INTERRUPTED, EXIT_BUG = 130, 3
NOT_OURS = {
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOSPC,
    errno.EDQUOT,
    errno.ENOTDIR,
    errno.ELOOP,
    errno.ENAMETOOLONG,
}
Number = TypeVar("Number", int, float)
VERBS = {
    "up": "build the cluster, or finish and mend what is there, and verify it (the default)",
    "plan": "show what up would change on each node, and change nothing",
    "preflight": "look at every node, change nothing, and say what is in the way",
    "verify": "run every check on every node, and the cluster's own proofs",
    "status": "show what each part of the cluster does on each node, and since when; once or watched",
    "wait-for": "wait until the cluster has reached a milestone: api, nodes, network, dns, ready",
    "gather": "pack what explains the cluster's state, from all nodes and without secrets, into one file",
    "ssh": "open a shell on a node: ssh NODE [COMMAND…]",
    "kubectl": "run kubectl on the cluster: kubectl get pods -A",
    "down": "stop the machines; up starts them again",
    "add": "have further nodes join: add NODE…",
    "remove": "drain nodes, take them out of the cluster, and remove their machines: remove NODE…",
    "replace": "take a node out, dead or alive, and have a new one of its name join: replace NODE",
    "backup": "take a backup of the cluster, or list, verify and drop those that there are",
    "restore": "bring a cluster back from a backup: in place, or on new machines",
    "certs": "show when each certificate ends and whether it is in use; renew them",
    "sbom": "write down what software is on the nodes, as CycloneDX",
    "secrets": "show which key encrypts the secrets in etcd; change it",
    "cis": "judge the running cluster by the CIS Kubernetes Benchmark",
    "upgrade": "bring the cluster to another Kubernetes version, node by node; back again if that fails",
    "reset": "take the cluster off its machines, which stay and are as they were before it",
    "destroy": "remove the machines and everything that belongs to them",
    "snapshot": "save, restore, list or delete the state of all machines",
    "box": "build a Vagrant box from Debian's archive, where no box registry is reached",
    "tour": "show on a lab how Kubernetes works and fails, from evidence; set exercises and grade them",
    "inspect": "show a pod's whole chain: owner, node, processes, network, rules, image layers, etcd key",
    "controllers": "be one of several controllers that up --controllers shares its work among, or their scheduler",
    "schema": "print the JSON Schema of cluster.yml, for editors",
    "import": "turn another tool's list of machines into a cluster.yml",
    "adopt": "write the cluster.yml of a cluster that other hands built with kubeadm; the cluster is only read",
    "export": "write the files and commands by which a person makes the same cluster by hand",
    "repair": "find sick nodes; restart, reboot or join them anew, one by one, and look after each step",
    "completion": 'print a shell\'s completion: eval "$(python3 runner.py completion bash)"',
    "bundle": "build, verify, list, export or import what the nodes are given",
}


def _common(default: bool) -> argparse.ArgumentParser:
    """Return the options that every verb takes, before or after it; only the first parser sets defaults."""
    parser = argparse.ArgumentParser(add_help=False, argument_default=None if default else argparse.SUPPRESS)
    inventory = parser.add_argument(
        "-i", "--inventory", metavar="NAME|PATH", help="cluster file, or folder under inventories/ (lab)"
    )
    completion.of(inventory, "inventories")
    parser.add_argument("-y", "--yes", action="store_true", help="install missing system packages without asking")
    parser.add_argument("--json", action="store_true", help="JSON lines on standard output")
    parser.add_argument("-v", "--verbose", action="count", help="say more; twice: Ansible's own output is kept verbose")
    parser.add_argument("-q", "--quiet", action="store_true", help="say only what failed")
    if default:
        parser.set_defaults(inventory="lab", yes=False, json=False, verbose=0, quiet=False)
    return parser


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    top = argparse.ArgumentParser(
        prog="runner.py",
        description="Build and verify a kubeadm cluster on the machines that a cluster file describes.",
        parents=[_common(default=True)],
        epilog=manual.epilog(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"kubesmith {__version__}")
    verbs = top.add_subparsers(dest="verb", metavar="VERB", title="verbs")
    made = {
        name: verbs.add_parser(
            name,
            help=text,
            description=text[:1].upper() + text[1:] + ".",
            parents=[_common(default=False)],
            epilog=manual.epilog(name),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        for name, text in VERBS.items()
    }
    made["up"].add_argument("--check", action="store_true", help="the same as the verb plan")
    for option, text in (("--from", "begin with this phase"), ("--to", "end with this phase")):
        completion.of(made["up"].add_argument(option, metavar="PHASE", help=text), "phases")
    only = made["up"].add_argument("--only", action="append", metavar="PHASE", help="only this phase (may be repeated)")
    completion.of(only, "phases")
    _add_controllers(made)
    made["plan"].add_argument("--exit-code", action="store_true", help="end with 10 if something would change")
    _certificates(made["certs"])
    document = made["sbom"].add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="where to write (standard output)"
    )
    made["secrets"].add_argument(
        "action", nargs="?", choices=("rotate",), help="a new key, everything written by it, the old one gone"
    )
    made["secrets"].add_argument("--check", action="store_true", help="rotate: change nothing, show what would be done")
    junit = made["cis"].add_argument("--junit", type=Path, metavar="FILE", help="write the result as JUnit XML too")
    made["upgrade"].add_argument("--to", required=True, metavar="VERSION", help="such as 1.37.2, 1.37 or stable")
    made["upgrade"].add_argument("--check", action="store_true", help="change nothing, show the plan")
    made["upgrade"].add_argument(
        "--force", action="append", default=[], metavar="CODE", help="pass over this (may be repeated): see the plan"
    )
    made["upgrade"].add_argument(
        "--timeout", type=_seconds, default=300.0, metavar="SECONDS", help="for pods to start or to leave (300)"
    )
    made["upgrade"].add_argument("--no-probe", action="store_true", help="measure no workload meanwhile")
    _node_arguments(made)
    _backups(made["backup"], made["restore"])
    made["reset"].add_argument("--check", action="store_true", help="change nothing, show what would be removed")
    made["verify"].add_argument(
        "--wait", nargs="?", type=_seconds, const=300.0, metavar="SECONDS", help="try until it passes (300 s)"
    )
    made["verify"].add_argument("--count", type=_count, default=1, metavar="N", help="pass N times in a row")
    made["status"].add_argument("--watch", action="store_true", help="go on until ^C")
    milestone = made["wait-for"].add_argument("milestone", help="api, nodes, network, dns or ready")
    completion.of(milestone, "milestones")
    made["wait-for"].add_argument("--timeout", type=_seconds, default=300.0, metavar="SECONDS", help="300 by default")
    output = made["gather"].add_argument(
        "-o", "--output", type=Path, metavar="PATH", help="file or folder (the state folder)"
    )
    made["bundle"].add_argument("action", choices=("build", "verify", "list", "export", "import"))
    folder = made["bundle"].add_argument(
        "path", nargs="?", type=Path, help="the bundle's folder (the one in use); for export and import the file"
    )
    made["bundle"].add_argument(
        "--with-node-image", action="store_true", help="export: also the root file system of lab nodes"
    )
    made["bundle"].add_argument(
        "--source", choices=("auto", "upstream", "gomod"), help="build: instead of the cluster file's bundle.source"
    )
    made["bundle"].add_argument("--digest", metavar="sha256:…", help="import: only the file with this digest")
    made["snapshot"].add_argument("action", choices=("save", "restore", "list", "delete"))
    made["snapshot"].add_argument("name", nargs="?", help="of the snapshot; list takes none")
    _tour_options(made["tour"], made["inspect"])
    made["box"].add_argument("action", choices=("build",))
    made["import"].add_argument("kind", choices=("kubespray", "csv", "rebar"), help="whose inventory it is")
    source = made["import"].add_argument("path", type=Path, help="inventory file, or the folder that holds it")
    target = made["import"].add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="where to write (standard output)"
    )
    made["import"].add_argument(
        "--lab", action="store_true", help="the same cluster on container nodes of this machine, to rehearse with"
    )
    for path in (output, folder, source, target, junit, document, *_day_two_options(made)):
        completion.of(path, "files")
    made["completion"].add_argument("shell", choices=completion.SHELLS)
    completion.of(made["ssh"].add_argument("arguments", nargs="*", metavar="NODE [COMMAND]"), "nodes")
    made["kubectl"].add_argument("arguments", nargs="*", metavar="ARGUMENT")
    return top


def _tour_options(tour: argparse.ArgumentParser, inspect: argparse.ArgumentParser) -> None:
    """Add what the verbs of the tours take."""
    tour.add_argument("action", choices=TOUR_ACTIONS, metavar="ACTION", help=", ".join(TOUR_ACTIONS))
    completion.of(tour.add_argument("name", nargs="?", help="run: of the tour; quiz: of the exercise"), "tours")
    tour.add_argument("--pace", action="store_true", help="wait for Enter after each explanation, or give time to read")
    inspect.add_argument("pod", metavar="POD", help="name, or NAMESPACE/NAME")
    inspect.add_argument("-n", "--namespace", metavar="NAMESPACE", help="where it is, if the name is not unique")
    for verb in (tour, inspect):
        verb.add_argument(
            "--language", choices=LANGUAGES, help="en or ko; by default that of KUBESMITH_LANGUAGE or LANG"
        )


def _day_two_options(made: dict[str, argparse.ArgumentParser]) -> list[argparse.Action]:
    """Add what ``repair``, ``export`` and ``adopt`` take; return those options that are files."""
    made["repair"].add_argument("--check", action="store_true", help="do nothing, show what is sick and would be done")
    files = [
        made["export"].add_argument("-o", "--output", type=Path, metavar="FOLDER", required=True, help="a new one")
    ]
    verb = made["adopt"]
    files += [verb.add_argument("--kubeconfig", type=Path, metavar="FILE", help="the administrator's, for the cluster")]
    verb.add_argument("--host", metavar="ADDRESS", help="instead: a control plane, from which SSH fetches it")
    verb.add_argument("--name", default="", help="the cluster's name here (kubeadm's own)")
    verb.add_argument("--user", default="root", help="SSH user of the nodes (root)")
    verb.add_argument("--port", type=_port, default=22, help="SSH port of the nodes (22)")
    files.append(verb.add_argument("--key", metavar="FILE", help="SSH key; SSH's own search by default"))
    files.append(verb.add_argument("--known-hosts", metavar="FILE", help="host keys of the nodes (~/.ssh/known_hosts)"))
    verb.add_argument("--bastion", metavar="HOST", help="jump host, as user@host:port")
    files.append(
        verb.add_argument("-o", "--output", type=Path, metavar="FILE", help="where to write (standard output)")
    )
    return files


def _port(text: str) -> int:
    return _number(text, int, 65535, "port")


def _node_arguments(made: Mapping[str, argparse.ArgumentParser]) -> None:
    """Add what add, remove and replace take."""
    for name, many in (("add", True), ("remove", True), ("replace", False)):
        nodes = made[name].add_argument("nodes", nargs="+" if many else 1, metavar="NODE", help="name of a node")
        completion.of(nodes, "nodes")
    for name in ("remove", "replace"):
        made[name].add_argument(
            "--timeout", type=_seconds, default=300.0, metavar="SECONDS", help="that a node's pods may take to go (300)"
        )
        made[name].add_argument("--force", action="store_true", help="delete pods, too, that nobody makes anew")


def _add_controllers(made: Mapping[str, argparse.ArgumentParser]) -> None:
    """Add what belongs to several controllers, and the last options of ``up``."""
    made["up"].add_argument("--headless", action="store_true", help="open no window for machines; none ever has one")
    made["up"].add_argument("--skip-preflight", action="store_true", help="go on whatever the nodes look like")
    made["up"].add_argument(
        "--controllers", metavar="ADDRESS", help="share the workers among controllers: tls://HOST:PORT, receptor:…"
    )
    made["controllers"].add_argument("action", choices=("certificates", "scheduler", "worker", "shard"))
    made["controllers"].add_argument("address", nargs="?", help="worker: the scheduler's, tls://HOST:PORT")
    made["controllers"].add_argument(
        "--listen", metavar="HOST:PORT", help="scheduler: where it is reached (0.0.0.0:8786)"
    )
    made["controllers"].add_argument(
        "--dashboard", metavar="HOST:PORT", help="scheduler: where its dashboard is (127.0.0.1:8787)"
    )
    made["controllers"].add_argument(
        "--at-once", type=_count, metavar="N", help="worker: shards at once (one for each processor)"
    )
    for name in ("up", "controllers"):
        tls = made[name].add_argument(
            "--tls",
            type=Path,
            metavar="FOLDER",
            help="certificates of the controllers (~/.config/kubesmith/controllers)",
        )
        completion.of(tls, "files")


def _certificates(certs: argparse.ArgumentParser) -> None:
    """Add what the verb certs takes."""
    certs.add_argument(
        "action", nargs="?", choices=("renew", "rotate"), help="new certificates, or new CAs and then certificates"
    )
    certs.add_argument(
        "--to", choices=("trust", "issue", "drop"), default="drop", help="rotate: stop after this stage (drop)"
    )
    certs.add_argument("--rollback", action="store_true", help="rotate: back to the old CAs, before drop")
    certs.add_argument("--within", type=_days, default=30.0, metavar="DAYS", help="end with 1 if one ends by then (30)")
    certs.add_argument("--check", action="store_true", help="change nothing, show what would be done")


def _backups(backup: argparse.ArgumentParser, restore: argparse.ArgumentParser) -> None:
    """Add what the verbs backup and restore take."""
    backup.add_argument(
        "action", nargs="?", choices=("create", "list", "verify", "collect", "prune", "spec"), help="create is usual"
    )
    backup.add_argument("name", nargs="?", metavar="BACKUP", help="verify, spec: a name of the list, latest or a file")
    backup.add_argument("--keep", type=_count, metavar="N", help="prune: instead of the cluster file's backup.keep")
    restore.add_argument("name", nargs="?", metavar="BACKUP", help="a name of `backup list`, latest (usual), or a file")
    restore.add_argument(
        "--from-member",
        metavar="NODE",
        help="instead of a backup: the control plane that survived, where etcd lost its majority",
    )
    restore.add_argument("--check", action="store_true", help="open and check the backup, say what would be done")
    for parser in (backup, restore):
        identity = parser.add_argument(
            "--identity", type=Path, metavar="FILE", help="private key of age, if not this machine's own"
        )
        completion.of(identity, "files")


def _seconds(text: str) -> float:
    return _number(text, float, 86400.0, "seconds")


def _days(text: str) -> float:
    return _number(text, float, 36500.0, "days")


def _count(text: str) -> int:
    return _number(text, int, 1000, "times")


def _number(text: str, kind: Callable[[str], Number], most: Number, unit: str) -> Number:
    with contextlib.suppress(ValueError):
        value = kind(text)
        if 0 < value <= most:
            return value
    raise argparse.ArgumentTypeError(f"{text!r} is not a number of {unit} above 0 and up to {most:g}")


def arguments(words: Sequence[str]) -> argparse.Namespace:
    """Parse the command line; a missing verb is ``up``, and words for kubectl and ssh stay as they are."""
    index = _verb_index(words)
    verb = words[index] if index is not None else None
    if index is None:
        asked = {"-h", "--help", "--version"} & set(words)
        return parser().parse_args([*words] if asked else ["up", *words])
    if verb is not None and verb not in VERBS:
        near = difflib.get_close_matches(verb, VERBS, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}? " if near else ""
        raise InputError(f"{verb[:80]!r} is not a verb", fix=f"{hint}verbs: {', '.join(VERBS)}")
    if verb in PASSED_ON:
        rest = list(words[index + 1 :])
        own, rest = _own_options(rest)
        if rest[:1] in (["-h"], ["--help"]) and "--" not in words:  # kubectl has its verb help for its own
            return parser().parse_args([*words[: index + 1], "--help"])
        parsed = parser().parse_args([*words[:index], *own, verb])
        parsed.arguments = rest
        return parsed
    return parser().parse_args(list(words))


def _verb_index(words: Sequence[str]) -> int | None:
    """Return where the verb stands: the first word that is neither an option nor an option's value."""
    value = False
    for index, word in enumerate(words):
        if not value and not word.startswith("-"):
            return index
        value = not value and word in WITH_VALUE
    return None


def _own_options(rest: list[str]) -> tuple[list[str], list[str]]:
    """Take ``--inventory X`` that stands directly after a passed-on verb; all else is the other program's."""
    own: list[str] = []
    while rest and (rest[0] in ("-i", "--inventory") or rest[0].startswith("--inventory=")):
        taken = 1 if "=" in rest[0] else 2
        own, rest = own + rest[:taken], rest[taken:]
    return own, rest[1:] if rest[:1] == ["--"] else rest


def dispatch(given: argparse.Namespace) -> int:
    """Carry out one parsed command line and return its exit code."""
    ui = Ui(as_json=given.json, quiet=given.quiet, verbosity=given.verbose, inventory=given.inventory)
    # A file with mistakes is told before anything that takes time is loaded.
    if given.verb in WITHOUT_CLUSTER:
        return _without_cluster(given, ui)
    work = job.read(given.inventory, ui, assume_yes=given.yes)
    # Here and not above: --help and a wrong word must not wait for ansible-runner and pytest to load.
    from kubesmith.commands import (  # noqa: PLC0415
        backup,
        cis,
        export,
        gather,
        inspect,
        machines,
        nodes,
        plan,
        preflight,
        repair,
        reset,
        sbom,
        secrets,
        snapshot,
        status,
        tour,
        up,
        upgrade,
        verify,
        wait,
    )

    phases = _phases(given) if given.verb == "up" else frozenset[str]()
    engine = _engine(given) if given.verb == "up" else None
    listing = given.verb == "tour" and given.action == "list"
    if (given.verb in ENTERING and not listing) or (given.verb == "up" and "nodes" not in phases):
        work.enter()
    if given.verb not in KEEPING_TOUR and not (given.verb == "snapshot" and given.action == "restore"):
        tour.restore_left(work)
    verbs: dict[str, Callable[[], int]] = {
        "tour": lambda: tour.run(work, given.action, given.name, pace=given.pace, chosen=given.language),
        "inspect": lambda: inspect.run(work, given.pod, namespace=given.namespace, chosen=given.language),
        "up": lambda: plan.run(work) if given.check else up.run(work, phases=phases, engine=engine),
        "plan": lambda: plan.run(work, exit_code=given.exit_code),
        "preflight": lambda: preflight.run(work),
        "verify": lambda: verify.run(work, wait=given.wait, count=given.count),
        "status": lambda: status.run(work, watch=given.watch),
        "wait-for": lambda: wait.run(work, given.milestone, timeout=given.timeout),
        "gather": lambda: gather.run(work, output=given.output),
        "ssh": lambda: machines.ssh(work, given.arguments),
        "kubectl": lambda: machines.kubectl(work, given.arguments),
        "down": lambda: machines.down(work),
        "add": lambda: nodes.add(work, given.nodes),
        "remove": lambda: nodes.remove(work, given.nodes, nodes.Draining(given.timeout, given.force)),
        "replace": lambda: nodes.replace(work, given.nodes[0], nodes.Draining(given.timeout, given.force)),
        "sbom": lambda: sbom.run(work, output=given.output),
        "secrets": lambda: secrets.run(work, given.action, check=given.check),
        "cis": lambda: cis.run(work, junit=given.junit),
        "upgrade": lambda: upgrade.run(
            work,
            given.to,
            check=given.check,
            force=given.force,
            timeout=given.timeout,
            measured=not given.no_probe,
        ),
        "repair": lambda: repair.run(work, check=given.check),
        "backup": lambda: backup.run(work, given.action, given.name, identity=given.identity, keep=given.keep),
        "restore": lambda: _restore(work, given),
        "certs": lambda: _certs(work, given),
        "reset": lambda: reset.run(work, check=given.check),
        "destroy": lambda: machines.destroy(work),
        "export": lambda: export.run(work, given.output),
        "snapshot": lambda: snapshot.run(work, given.action, given.name),
    }
    return verbs[given.verb]()


def _without_cluster(given: argparse.Namespace, ui: Ui) -> int:
    """Carry out a verb that reads no cluster file, or one only at need."""
    from kubesmith.commands import box, controllers, files  # noqa: PLC0415 - as in dispatch

    if given.verb == "completion":
        print(completion.script(parser(), given.shell))
        return 0
    verbs: dict[str, Callable[[], int]] = {
        "schema": files.schema,
        "import": lambda: files.import_inventory(given.kind, given.path, given.output, ui, lab=given.lab),
        "adopt": lambda: _adopt(given, ui),
        "controllers": lambda: controllers.run(given, ui),
        "box": lambda: box.build(ui, assume_yes=given.yes),
        "bundle": lambda: _bundle(given, ui),
    }
    return verbs[given.verb]()


def _adopt(given: argparse.Namespace, ui: Ui) -> int:
    """Carry out ``adopt``."""
    from kubesmith.adopt import Reach  # noqa: PLC0415
    from kubesmith.commands import adopt  # noqa: PLC0415

    reach = Reach(given.user, given.port, given.key, given.known_hosts, given.bastion)
    return adopt.run(adopt.Source(given.kubeconfig, given.host), reach, given.output, ui, name=given.name)


def _certs(work: job.Job, given: argparse.Namespace) -> int:
    """Carry out ``certs [renew|rotate]``."""
    from kubesmith.commands import certs, rotate  # noqa: PLC0415

    if given.action == "rotate":
        return rotate.run(work, to=given.to, rollback=given.rollback, check=given.check)
    if given.rollback or given.to != "drop":
        raise InputError(f"--to and --rollback say nothing to certs {given.action or ''}".strip(), fix="leave them out")
    return certs.run(work, given.action, within=given.within, check=given.check)


def _restore(work: job.Job, given: argparse.Namespace) -> int:
    """Carry out ``restore``, from a backup or from a member of etcd that survived."""
    from kubesmith.commands import quorum, restore  # noqa: PLC0415

    if given.from_member is None:
        return restore.run(work, given.name, identity=given.identity, check=given.check)
    if given.name or given.identity:
        raise InputError("--from-member needs no backup and no key", fix="leave them out")
    return quorum.run(work, given.from_member, check=given.check)


def _bundle(given: argparse.Namespace, ui: Ui) -> int:
    """Carry out ``bundle ACTION``."""
    from kubesmith.commands import bundle  # noqa: PLC0415

    if given.with_node_image and given.action != "export":
        raise InputError(f"--with-node-image says nothing to bundle {given.action}", fix="leave it out")
    if given.digest and given.action != "import":
        raise InputError(f"--digest says nothing to bundle {given.action}", fix="leave it out")
    if given.source and given.action != "build":
        raise InputError(f"--source says nothing to bundle {given.action}", fix="leave it out")
    if given.action == "build":
        return _build(given, ui)
    with ui.phase("bundle", f"Bundle: {given.action}") as progress:
        if given.action == "export":
            return bundle.run_export(given.path, progress, as_json=given.json, node_image=given.with_node_image)
        if given.action == "import":
            return bundle.run_import(given.path, progress, as_json=given.json, digest=given.digest or "")
        code = bundle.run(given.action, path=given.path, as_json=given.json)
        progress.failed = code != 0
        return code


def _build(given: argparse.Namespace, ui: Ui) -> int:
    """Carry out ``bundle build``, for the Kubernetes and from the source of a cluster file."""
    from kubesmith.bundle import source  # noqa: PLC0415
    from kubesmith.commands import bundle  # noqa: PLC0415

    work = job.read(given.inventory, ui, assume_yes=given.yes)
    wanted = bundle.wanted(work)
    choice = source.choose(replace(wanted, source=given.source or wanted.source), fresh=True)
    if choice.kind == "gomod":
        bootstrap.require_packages("bundle", assume_yes=given.yes)
    with ui.phase("bundle", "Bundle: build") as progress:
        return bundle.run_build(work, choice, progress)


def _phases(given: argparse.Namespace) -> frozenset[str]:
    """Return the phases that ``up`` is to carry out."""
    first, only = getattr(given, "from"), given.only or ()
    if given.check and (first is not None or given.to is not None or only):
        raise InputError("--check looks at the whole way", fix="leave out --from, --to and --only")
    return chosen(first=first, last=given.to, only=only, skip=("preflight",) if given.skip_preflight else ())


def _engine(given: argparse.Namespace) -> Engine | None:
    """Return the engine of --controllers; InputError beside what it excludes, and where nobody answers."""
    if given.controllers is None:
        if given.tls:
            raise InputError("--tls says nothing without --controllers", fix="leave it out")
        return None
    if given.check:
        raise InputError("--controllers says nothing to --check, which changes nothing", fix="leave it out")
    from kubesmith.controllers import engines  # noqa: PLC0415 - as in dispatch: it loads ansible-runner

    return engines.named(given.controllers, given.tls or engines.tls_folder())


def main(words: Sequence[str] | None = None) -> int:
    """Run one command; the only place where an error becomes words and an exit code."""
    console = Console(stderr=True, highlight=False, markup=False, emoji=False)
    given = argparse.Namespace(json=False, inventory="lab")
    if words is None:
        _end_as_by_interrupt()
    try:
        given = arguments(sys.argv[1:] if words is None else words)
        return dispatch(given)
    except KubesmithError as error:
        fix = manual.typed(error.fix, given.inventory)
        if given.json:
            row = {"event": "error", "message": str(error), "fix": fix, "code": error.exit_code}
            print(json.dumps(row), flush=True)
        console.print(Text(str(error), "red"), soft_wrap=True)
        if fix:
            console.print(Text(f"→ {fix}"), soft_wrap=True)
        return error.exit_code
    except KeyboardInterrupt:
        console.print("interrupted; the same command goes on from here")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        return _unexpected(error, console)


def _unexpected(error: Exception, console: Console) -> int:
    """Tell of what no part of ours has put into words, the machine's fault or a bug; return the exit code."""
    if isinstance(error, OSError) and error.errno in NOT_OURS:
        console.print(Text(f"{error.filename or 'a file'}: {error.strerror}", "red"), soft_wrap=True)
        return 1
    if program := _missing_program(error):
        console.print(Text(f"{program} is not installed, or not in PATH", "red"), soft_wrap=True)
        console.print("→ install it; up tells which packages it needs, and with --yes installs them", soft_wrap=True)
        return InputError.exit_code
    console.print(Text(f"a bug of ours: {type(error).__name__}: {error}", "red"), soft_wrap=True)
    console.print(f"→ please report it with {_bug_log(traceback.format_exc())}", soft_wrap=True)
    return EXIT_BUG


def _missing_program(error: Exception) -> str:
    """Return the name of the program that could not be started as this machine has none of that name, else ""."""
    name = str(error.filename or "") if isinstance(error, FileNotFoundError) else ""
    return "" if not name or "/" in name or shutil.which(name) else name


def _end_as_by_interrupt() -> None:
    """Have a stop from outside, or a terminal that closes, end the run as ^C does: with all that it has started."""

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:  # nohup has it ignored
            signal.signal(number, interrupt)


def _bug_log(text: str) -> str:
    """Keep a traceback in a file and return where; the traceback itself where nothing can be written."""
    try:
        log = paths.make_private(paths.cache()) / "bug.log"
        log.write_text(text)
    except (OSError, KubesmithError):
        return f"this:\n{text}"
    return str(log)


if __name__ == "__main__":
    sys.exit(main())
