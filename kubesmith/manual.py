"""What ``--help`` and the manual say below a verb's options: examples that can be typed as they stand, exit codes."""

from __future__ import annotations

import re
import shlex

from kubesmith.phases import CONVERGE, PHASES

RUN = "python3 runner.py"
EXIT_CODES = {
    0: "done",
    1: "the run or a check failed",
    2: "bad input, nothing was touched",
    3: "a bug of ours",
    130: "interrupted (^C)",
}
FURTHER_CODES = {"plan": {10: "something would change (with --exit-code)"}}
PHASE_TEXT = {
    "bundle": "programs and images for the nodes, built or found in the cache",
    "nodes": "the provider's machines run and answer",
    "preflight": "look at every machine, change nothing",
    "runtime": "every node: kernel settings, containerd, images",
    "control-plane": "kubeadm init, the administrator's kubeconfig",
    "network": "Calico",
    "workers": "token, kubeadm join, labels and taints",
    "ready": "wait until nodes are Ready and the system's pods run",
    "verify": "every check on every node, and proofs on the cluster",
}
EXAMPLES: dict[str, tuple[tuple[str, str], ...]] = {
    "": (
        ("", "a cluster on this machine: inventories/lab/cluster.yml"),
        ("plan --inventory metal", "what would be done on machines of your own"),
        ("--inventory metal", "do it"),
        ("kubectl get pods -A", "use it"),
    ),
    "up": (
        ("up", "the whole way, or what is missing of it"),
        ("up -i metal --from control-plane", "go on from there, after a failure for instance"),
        ("up --to preflight", "machines and a look at them, no cluster yet"),
        ("up --only runtime --only workers", "only these phases"),
        ("up -i metal --controllers tls://10.0.0.5:8786", "several machines share the workers"),
        ("up --check", "change nothing, show what would change"),
    ),
    "plan": (
        ("plan", "by node: files, programs, images, restarts, and how long that took before"),
        ("plan --exit-code", "for scripts: ends with 10 if the cluster has drifted"),
        ("plan --json", "the same as data"),
    ),
    "preflight": (("preflight -i metal", "before the first up, and as often as you like"),),
    "verify": (
        ("verify", "once"),
        ("verify --wait", "try until all checks pass, 300 seconds at most"),
        ("verify --wait 600 --count 3", "three times in a row within ten minutes"),
    ),
    "status": (
        ("status", "0 if everything runs, else 1"),
        ("status --watch", "go on until ^C; without a terminal, a line for each change"),
        ("status --json", "as data"),
    ),
    "wait-for": (
        ("wait-for api", "the API server answers"),
        ("wait-for ready --timeout 600", "all nodes Ready, everything in kube-system up"),
    ),
    "gather": (("gather", "into the state folder"), ("gather -o /tmp/evidence.tar.gz", "into a file of that name")),
    "ssh": (("ssh w1", "a shell"), ("ssh w1 journalctl -u kubelet -n 50", "one command")),
    "kubectl": (
        ("kubectl get nodes -o wide", ""),
        ("kubectl help", "kubectl's own help"),
        ("kubectl -i metal logs -n kube-system ds/calico-node", ""),
    ),
    "down": (("down", "the machines keep their disks"),),
    "add": (
        ("add w3", "one more worker; the cluster file gets it, too, if it counts its nodes"),
        ("add cp2 cp3", "three control planes, where the cluster file has cluster.vip or cluster.endpoint"),
        ("add -i metal rack2-07", "a machine that the cluster file lists by now, with its address"),
    ),
    "remove": (
        ("remove w3", "pods go first, as their PodDisruptionBudgets allow"),
        ("remove w2 w3 --timeout 900", "where pods take long to end"),
        ("remove cp2 cp3", "back to one control plane"),
    ),
    "replace": (
        ("replace w2", "an empty machine of the same name and address"),
        ("replace cp1", "the first control plane is no other than the rest, dead or alive"),
    ),
    "backup": (
        ("backup", "now: etcd, keys, kubeadm's configuration and the cluster file, encrypted"),
        ("backup list", "what there is, and where"),
        ("backup verify", "open each and check every byte; ends with 1 if one is damaged"),
        ("backup collect", "bring those that control planes took on their timer, and send them to the targets"),
        ("backup prune --keep 5", "drop the oldest"),
        ("backup spec latest > cluster.yml", "the cluster file that was backed up"),
    ),
    "restore": (
        ("restore", "the newest one; asks for the cluster's name"),
        ("restore --check", "open and check it, say what would be done"),
        (
            "restore old/lab-20261125T001530000Z-cp1.tar.gz.age --identity key.txt",
            "from a file, with a key of your own",
        ),
        ("restore --from-member cp2", "etcd lost its majority: go on with the data of the one that is left"),
        ("restore --yes", "for scripts; machines that are gone are made anew"),
    ),
    "certs": (
        ("certs", "ends with 1 if one ends within 30 days, or is not in use"),
        ("certs --within 90 --json", "for monitoring"),
        ("certs renew", "new ones, and every program works with them"),
        ("certs rotate --to trust", "new CAs, trusted beside the old ones"),
        ("certs rotate", "the way to its end: certificates by the new CAs, the old ones trusted no more"),
        ("certs rotate --rollback", "back to the old CAs, as long as they are trusted"),
    ),
    "sbom": (("sbom -o nodes.cdx.json", "packages, programs and images of every node, and the bundle's components"),),
    "secrets": (
        (
            "secrets",
            "keys, and how much each wrote in etcd; ends with 1 if something is not encrypted by the one in use",
        ),
        ("secrets rotate", "goes on where an interrupted one stopped"),
        ("secrets rotate --check", "what would be done"),
    ),
    "cis": (
        ("cis", "every control with what was seen; ends with 1 if an automated one fails"),
        ("cis --quiet", "only what fails"),
        ("cis --json --junit cis.xml", "for other programs"),
    ),
    "upgrade": (
        ("upgrade --to 1.37.2 --check", "the plan: the way, each node, and what speaks against it"),
        ("upgrade --to 1.37.2", "do it, and tell what a workload and the API missed meanwhile"),
        ("upgrade --to 1.37 --force lost", "pods that no controller makes anew are deleted"),
    ),
    "reset": (
        ("reset", "asks for the cluster's name"),
        ("reset --check", "by node: what would be removed and put back"),
        ("reset -i metal --yes", "for scripts"),
    ),
    "repair": (
        ("repair", "shows what is sick and what would be done, and asks"),
        ("repair --check", "for scripts: ends with 1 if a node is sick"),
        ("repair --yes", "restart, reboot, join anew: as far as is needed"),
    ),
    "destroy": (
        ("destroy", "a lab goes without a question"),
        ("destroy -i vagrant --yes", "others ask, unless told"),
    ),
    "snapshot": (
        ("snapshot save clean", "the nodes stop for it, and run again afterwards"),
        ("snapshot restore clean", "and verify: ends with 1 if a check fails"),
        ("snapshot list", "name, time, nodes, size"),
        ("snapshot delete clean", ""),
    ),
    "box": (("box build --yes", "kept in the cache, added to Vagrant as kubesmith/debian-12"),),
    "tour": (
        ("tour list", "what there is, and how long each takes"),
        ("tour run pod-flow --pace", "a pod's way in eight steps, at a reader's pace"),
        ("tour run kubelet-stopped --language ko", "in Korean"),
        ("tour all", "every tour, one after the other"),
        ("tour quiz service-selector", "a fault is planted; without a name the exercises are listed"),
        ("tour check", "0 if it is mended, else 1 and a hint"),
        ("tour restore", "give up an exercise; take back what a killed tour left"),
    ),
    "inspect": (
        ("inspect etcd-cp1", "from its owner to the kernel's rules"),
        ("inspect kube-system/coredns-66bff467f8-x5z2q --json", "as data"),
    ),
    "controllers": (
        ("controllers certificates", "once; copy ~/.config/kubesmith/controllers to every controller"),
        ("controllers scheduler", "on one machine: port 8786, dashboard at 127.0.0.1:8787"),
        ("controllers worker tls://10.0.0.5:8786", "on each controller, until ^C; then up --controllers"),
    ),
    "schema": (("schema > cluster.schema.json", "for an editor that completes YAML from it"),),
    "import": (
        ("import kubespray inventory/mycluster -o cluster.yml", "says what was kept, translated, ignored"),
        ("import csv hardware.csv -o cluster.yml", "columns such as hostname, ip_address, labels"),
        ("import rebar machines.json -o cluster.yml", "what `drpcli machines list` prints"),
    ),
    "adopt": (
        ("adopt --kubeconfig admin.conf --user debian -o cluster.yml", "then: plan -i cluster.yml"),
        ("adopt --host 192.168.10.11 --user debian --key ~/.ssh/id -o cluster.yml", "the kubeconfig is fetched by SSH"),
    ),
    "export": (("export -o by-hand", "begin with by-hand/README.md; by-hand/make.sh does it all by SSH"),),
    "completion": (("completion bash > ~/.local/share/bash-completion/completions/runner.py", ""),),
    "bundle": (
        ("bundle build", "what is in the cache is not built again"),
        ("bundle verify", "every byte against bundle.json"),
        ("bundle list", "components, versions, sizes"),
        ("bundle export k8s.tar.zst --with-node-image", "one file for machines without a network"),
        ("bundle import k8s.tar.zst", "there: checked byte by byte, then used by up"),
    ),
}


def typed(text: str, inventory: str) -> str:
    """Return a text whose commands name the inventory that a run was given: who wrote it did not know which."""
    if inventory == "lab":
        return text
    return re.sub(
        r"\brunner\.py (?!-i |bundle (verify|export|import))", f"runner.py -i {shlex.quote(inventory)} ", text
    )


def epilog(verb: str = "") -> str:
    """Return the text below the options of ``verb``; of the whole command line without one."""
    parts = [_phases()] if verb == "up" else []
    if verb in EXAMPLES:
        rows = [(f"{RUN} {line}".rstrip(), text) for line, text in EXAMPLES[verb]]
        parts.append("examples:\n" + _table(rows))
    codes = EXIT_CODES | FURTHER_CODES.get(verb, {})
    parts.append("exit codes:\n" + _table([(str(code), text) for code, text in sorted(codes.items())]))
    return "\n\n".join(parts)


def _phases() -> str:
    rows = [(name, PHASE_TEXT[name]) for name in PHASES]
    return f"phases, in order (converge: {CONVERGE[0]} to {CONVERGE[-1]}):\n" + _table(rows)


def _table(rows: list[tuple[str, str]]) -> str:
    width = max(len(left) for left, _ in rows)
    return "\n".join(f"  {left:<{width}}  {right}".rstrip() for left, right in rows)
