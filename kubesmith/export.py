"""The same cluster by hand: scripts and texts that need nothing of kubesmith. Pure."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml
from ansible_collections.kubesmith.cluster.plugins.module_utils import host, kubeadm, kubelet
from ansible_collections.kubesmith.cluster.plugins.plugin_utils import calico, registries
from ansible_collections.kubesmith.cluster.plugins.plugin_utils.inventory import Inventory
from ansible_collections.kubesmith.cluster.plugins.plugin_utils.spec import Spec

BUNDLE = "/var/lib/kubesmith/bundle"
ENCRYPTION = "/etc/kubernetes/encryption/config.yaml"
PATCHES = "/etc/kubernetes/patches"
STRICT = "#!/bin/bash\n# {about}\nset -euo pipefail\n"
ON_NODE = STRICT + "export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n"
Files = dict[str, tuple[str, int]]  # path: (text, mode)


@dataclass(frozen=True)
class Plan:
    """What the scripts are made from: the file, its inventory, the bundle's description, ssh's arguments by node."""

    spec: Spec
    inventory: Inventory
    bundle: Mapping[str, Any]
    manifest: str
    ssh: Mapping[str, Sequence[str]]
    planes: Sequence[str] = field(default_factory=list)
    workers: Sequence[str] = field(default_factory=list)

    def variables(self, node: str) -> dict[str, Any]:
        """Return all variables of a node."""
        return {**self.inventory.variables, **self.inventory.hosts[node]}

    def role(self, node: str) -> str:
        """Return the role whose inputs describe the node."""
        return "kubeadm_master" if node in self.planes else "kubeadm_worker"


def files(plan: Plan) -> Files:
    """Return every file of the export, by its path in it, except those that the roles' own templates make."""
    made: Files = {
        "README.md": (readme(plan), 0o644),
        "calico.yml": (network(plan), 0o644),
        "make.sh": (make(plan), 0o755),
        "network.sh": (network_script(plan), 0o755),
    }
    for node in (*plan.planes, *plan.workers):
        top = f"nodes/{node}"
        made[f"{top}/install.sh"] = install(plan, node), 0o755
        if node == plan.planes[0]:
            made[f"{top}/init.sh"] = init(plan), 0o755
        else:
            made[f"{top}/join.sh"] = join_script(), 0o755
            made[f"{top}/files/etc/kubernetes/kubeadm.yml"] = join(plan, node), 0o600
        for path, text in node_files(plan, node).items():
            made[f"{top}/files{path}"] = text, 0o600
    return made


def node_files(plan: Plan, node: str) -> dict[str, str]:
    """Return {path on the node: text} of what a node gets beside the roles' templates; logins are left out."""
    variables, role = plan.variables(node), plan.role(node)
    found = {}
    if text := kubelet.document(variables.get(f"{role}_kubelet_settings", {})):
        found[f"{kubeadm.KUBELET_SETTINGS}/{kubelet.NAME}"] = text
    # The role writes those of control planes.
    patches = variables.get("kubeadm_worker_patches", {}) if role == "kubeadm_worker" else {}
    found |= {f"{PATCHES}/{name}.json": json.dumps(patch, indent=2) + "\n" for name, patch in patches.items()}
    rows = without_logins(variables["containerd_registries"])
    found |= {row["path"]: row["content"] for row in registries.hosts_files(rows)}
    proxy = without_logins([variables["containerd_proxy"]])[0]
    if proxy:
        found |= {row["path"]: row["content"] for row in registries.proxy_files(proxy)}
    return found


def without_logins(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return registries or a proxy without what logs in there."""
    return [
        {
            key: without_logins(value) if key == "mirrors" else value
            for key, value in row.items()
            if key not in ("auth", "header")
        }
        for row in rows
    ]


def join(plan: Plan, node: str) -> str:
    """Return a JoinConfiguration with words in capitals where the secrets go."""
    variables, role = plan.variables(node), plan.role(node)
    addresses = [variables[f"{role}_node_address"], variables.get(f"{role}_node_address6", "")]
    taints = variables.get(f"{role}_taints", ["node-role.kubernetes.io/control-plane:NoSchedule"])
    if role == "kubeadm_worker":
        taints = variables.get(f"{role}_taints", [])
    config: dict[str, Any] = {
        "apiVersion": "kubeadm.k8s.io/v1beta4",
        "kind": "JoinConfiguration",
        "discovery": {
            "bootstrapToken": {
                "apiServerEndpoint": endpoint(plan),
                "token": "TOKEN",
                "caCertHashes": ["CA_CERT_HASH"],
            }
        },
        "nodeRegistration": kubeadm.registration(
            node,
            ",".join(filter(None, addresses)),
            variables.get(f"{role}_labels", {}),
            taints,
            variables.get(f"{role}_ignore_preflight_errors", []),
            {},
        ),
    }
    if node in plan.planes or variables.get("kubeadm_worker_patches"):
        config["patches"] = {"directory": PATCHES}
    if node in plan.planes:
        config["controlPlane"] = {
            "localAPIEndpoint": {"advertiseAddress": addresses[0]},
            "certificateKey": "CERTIFICATE_KEY",
        }
    return str(yaml.safe_dump(config, sort_keys=False))


def endpoint(plan: Plan) -> str:
    """Return host and port by which nodes reach the API server."""
    first = plan.variables(plan.planes[0])
    return str(first.get("kubeadm_master_endpoint", f"{first['kubeadm_master_node_address']}:6443"))


def install(plan: Plan, node: str) -> str:
    """Return the script that prepares a node: host, programs, configuration, images."""
    return ON_NODE.format(
        about=f"Prepares {node}. Run as root on it; BUNDLE is the folder of the bundle there."
    ) + "".join(f"\n# {title}\n" + "".join(f"{line}\n" for line in lines) for title, lines in _steps(plan, node))


def _steps(plan: Plan, node: str) -> Iterator[tuple[str, list[str]]]:
    settings = plan.variables(node)["containerd_host"]
    yield "Where we are", ['cd "$(dirname "$0")"', f"bundle=${{BUNDLE:-{BUNDLE}}}"]
    if settings.get("swap", "disable") == "disable":
        yield "No swap, now and at boot", ["swapoff --all", r"sed -ri 's/^([^#].*\sswap\s)/# swap off: \1/' /etc/fstab"]
    modules = settings.get("modules", ["overlay", "br_netfilter"])
    if modules:
        listed = " ".join(modules)
        load = f"printf '%s\\n' {listed} >/etc/modules-load.d/kubernetes.conf"
        yield "Kernel modules, now and at boot", [load, f"modprobe --all {listed}"]
    sysctls = settings.get("sysctls", host.default_sysctls(modules))
    rows = [f"{key} = {value}" for key, value in sorted(sysctls.items())]
    file = "/etc/sysctl.d/99-kubernetes.conf"
    written = f"printf '%s\\n' {' '.join(map(shlex.quote, rows))} >{file}"
    yield "Kernel settings, now and at boot", [written, f"sysctl --quiet --load={file}"]
    hosts = [f"{address} {name}" for name, address in settings.get("hosts", {}).items()]
    if hosts:
        # The name of the host itself must not lead to 127.0.1.1, which distributions write.
        without = r"sed '/^127\.0\.1\.1[[:space:]]/d' /etc/hosts >/run/hosts.new"
        added = f"printf '%s\\n' {' '.join(map(shlex.quote, hosts))} >>/run/hosts.new"
        yield "Names of the nodes", [without, added, "cat /run/hosts.new >/etc/hosts; rm /run/hosts.new"]
    yield "Programs and units", list(_programs(plan, node))
    yield (
        "Configuration",
        [
            "(cd files && find . -type f | while read -r file; do",
            '  install -D -m "$(stat -c %a "$file")" "$file" "/$file"; done)',
            f"mkdir -p {kubeadm.KUBELET_SETTINGS} /etc/kubernetes/manifests",
        ],
    )
    yield "Services", ["systemctl daemon-reload", "systemctl enable --now containerd", "systemctl enable kubelet"]
    yield "Images", ['tar -C "$bundle/images" -c . | ctr --namespace k8s.io images import --local -']


def _programs(plan: Plan, node: str) -> Iterator[str]:
    sets = ("runtime", "kubernetes", *(("etcd",) if node in plan.planes else ()))
    for component in plan.bundle["components"]:
        for row in component["files"]:
            if row["set"] in sets and "install" in row:
                yield f'install -D -m {row["mode"]} "$bundle/{row["path"]}" {row["install"]}'


def init(plan: Plan) -> str:
    """Return the script that initialises the first control plane."""
    lines = [ON_NODE.format(about="Initialises the cluster. Run as root on the first control plane, after install.sh.")]
    if plan.spec.encrypted:
        lines.append(_encryption())
    lines.append("test ! -d /var/lib/etcd || chmod 700 /var/lib/etcd\n")
    lines.append("kubeadm init --config /etc/kubernetes/kubeadm.yml\n")
    return "".join(lines)


def _encryption() -> str:
    return (
        f"# The key by which Secrets are encrypted in etcd is made here, and is nowhere else: keep a copy.\n"
        f"install -d -m 700 {ENCRYPTION.rpartition('/')[0]}\n"
        "(umask 077; key=$(head -c 32 /dev/urandom | base64)\n"
        f"cat >{ENCRYPTION} <<END\n"
        "apiVersion: apiserver.config.k8s.io/v1\n"
        "kind: EncryptionConfiguration\n"
        "resources:\n"
        "  - resources: [secrets]\n"
        "    providers: [{secretbox: {keys: [{name: key1, secret: $key}]}}, {identity: {}}]\n"
        "END\n)\n"
    )


def join_script() -> str:
    """Return the script that joins a node; what is secret comes on standard input, never as an argument."""
    return ON_NODE.format(
        about="Joins the cluster. Run as root after install.sh, with token, hash and key as input."
    ) + (
        "read -r token hash key || true\n"
        "umask 077\n"
        "trap 'rm -f /run/kubeadm-join.yml' EXIT\n"
        "while IFS= read -r line; do line=${line//CERTIFICATE_KEY/$key}; line=${line//CA_CERT_HASH/$hash}\n"
        "  printf '%s\\n' \"${line/TOKEN/$token}\"; done </etc/kubernetes/kubeadm.yml >/run/kubeadm-join.yml\n"
        "kubeadm join --config /run/kubeadm-join.yml\n"
    )


def network(plan: Plan) -> str:
    """Return Calico's manifest with the cluster's settings; without an MTU in them, Calico finds it by itself."""
    variables = plan.inventory.variables
    settings = {
        "encapsulation": variables["calico_encapsulation"],
        "pod_cidr": variables["calico_pod_cidr"],
        "mtu": variables["calico_mtu"],
        "block_size": 26,
        "node_address_detection": "kubernetes-internal-ip",
    }
    return str(yaml.safe_dump_all(calico.objects(plan.manifest, settings), sort_keys=False))


def network_script(plan: Plan) -> str:
    """Return the script that applies Calico, labels and taints; it runs where kubectl and its kubeconfig are."""
    lines = [ON_NODE.format(about="Calico, labels and taints. Run as root on the first control plane.")]
    lines.append('cd "$(dirname "$0")"\nexport KUBECONFIG=/etc/kubernetes/admin.conf\n')
    lines.append("kubectl apply --server-side --filename calico.yml\n")
    for node in (*plan.planes, *plan.workers):
        labels = plan.variables(node).get(f"{plan.role(node)}_labels", {})
        words = [shlex.quote(f"{key}={value}") for key, value in sorted(labels.items())]
        if words:
            lines.append(f"kubectl label --overwrite node {node} {' '.join(words)}\n")
    lines.append("kubectl wait --for=condition=Ready nodes --all --timeout=300s\n")
    return "".join(lines)


def make(plan: Plan) -> str:
    """Return the script that does it all by SSH, from this machine."""
    first, rest = plan.planes[0], [*plan.planes[1:], *plan.workers]
    sudo = {node: "" if plan.variables(node).get("ansible_user", "root") == "root" else "sudo " for node in plan.ssh}
    cases = [f'    {node}) {shlex.join(argv)} "{sudo[node]}$2" ;;\n' for node, argv in plan.ssh.items()]
    home = "/root/by-hand"
    lines = [
        STRICT.format(about="Makes the cluster: what README.md says, from this machine by SSH."),
        'cd "$(dirname "$0")"\n',
        f"bundle=${{1:?give the folder of the bundle on this machine}} there={BUNDLE}\n\n",
        "on() { # NODE COMMAND\n  case $1 in\n",
        *cases,
        "  esac\n}\n\n",
        f"for node in {' '.join([first, *rest])}; do\n",
        '  on "$node" "test -e $there/bundle.json" </dev/null || tar -C "$bundle" -c . | on "$node" '
        "\"sh -c 'mkdir -p $there && tar -C $there -x'\"\n",
        f'  tar -C nodes/$node -c . | on "$node" "sh -c \'mkdir -p {home} && tar -C {home} -x\'"\n',
        f'  on "$node" "bash {home}/install.sh" </dev/null\n',
        "done\n",
        f'on {first} "bash {home}/init.sh" </dev/null\n',
        f'tar -c calico.yml network.sh | on {first} "tar -C {home} -x"\n',
    ]
    if rest:
        lines += [
            f'token=$(on {first} "kubeadm token create --ttl 15m" </dev/null)\n',
            f'hash=sha256:$(on {first} "cat /etc/kubernetes/pki/ca.crt" </dev/null | openssl x509 -pubkey -noout |\n'
            "  openssl pkey -pubin -outform der | sha256sum | cut -d' ' -f1)\n",
            f'key=$(on {first} "kubeadm init phase upload-certs --upload-certs" </dev/null | tail -n 1)\n'
            if len(plan.planes) > 1
            else "key=\n",
            *(_shared_key(first, node) for node in plan.planes[1:] if plan.spec.encrypted),
            *(f'echo "$token $hash $key" | on {node} "bash {home}/join.sh"\n' for node in rest),
            f'on {first} "kubeadm token delete ${{token%%.*}}" </dev/null\n',
        ]
    lines.append(f'on {first} "bash {home}/network.sh" </dev/null\n')
    return "".join(lines)


def _shared_key(first: str, node: str) -> str:
    """Return the command that brings the key of encrypted Secrets to another control plane."""
    put = f"umask 077 && mkdir -p {ENCRYPTION.rpartition('/')[0]} && cat >{ENCRYPTION}"
    return f'on {first} "cat {ENCRYPTION}" </dev/null | on {node} "sh -c \'{put}\'"\n'


def readme(plan: Plan) -> str:
    """Return the way by hand, step by step."""
    variables = plan.inventory.variables
    several, rest = len(plan.planes) > 1, [*plan.planes[1:], *plan.workers]
    logins = registries.logins(variables["containerd_registries"], variables["containerd_proxy"])
    return README.format(
        name=plan.spec.cluster.name,
        version=plan.bundle["kubernetes"],
        bundle=BUNDLE,
        first=plan.planes[0],
        rest=", ".join(rest) or "no other node",
        upload="kubeadm init phase upload-certs --upload-certs" if several else "# no key: there is one control plane",
        logins=LOGINS if logins else "",
    )


LOGINS = """
Logins at registries and at the proxy are left out: add them to `files/etc/containerd` yourself.
"""
README = """\
# Cluster {name} by hand

Kubernetes {version}, written by kubesmith's `export`. Nothing here needs kubesmith: programs and images are ordinary
files of the bundle (`bin/`, `etc/`, and `images/`, an OCI layout); the configuration is kubeadm's (v1beta4),
containerd's and Calico's own. There is no secret in it: tokens, the hash of the CA and keys are made on the way.

`bash make.sh BUNDLE` does all of the following by SSH. BUNDLE is the bundle's folder on this machine, by default
`~/.cache/kubesmith/bundle/current`. By hand, as root:

1. Bring the bundle to `{bundle}` on each node, and to each node its folder below `nodes/`.
2. On each node: `bash install.sh`. It sets up the host, installs programs, units and `files/`, starts containerd and
   imports the images.
3. On {first}: `bash init.sh`, which is `kubeadm init --config /etc/kubernetes/kubeadm.yml`.
4. On {first}: make a token, read the hash of the CA, and, for further control planes, upload the certificates:
   ```
   kubeadm token create --ttl 15m
   openssl x509 -pubkey -noout -in /etc/kubernetes/pki/ca.crt | openssl pkey -pubin -outform der | sha256sum
   {upload}
   ```
   Where Secrets are encrypted, copy `/etc/kubernetes/encryption` from {first} to each further control plane.
5. On {rest}: `bash join.sh`, and give it a line with the token, `sha256:` and the hash, and, for a control plane, the
   key: it runs `kubeadm join` with `/etc/kubernetes/kubeadm.yml`, these words filled in.
6. On {first}, with `calico.yml` beside it: `bash network.sh`. It applies Calico, gives the nodes their labels and
   waits until all are Ready.
{logins}
`kubectl` works on {first} with `KUBECONFIG=/etc/kubernetes/admin.conf`.
"""
