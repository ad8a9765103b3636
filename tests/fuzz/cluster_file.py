"""Coverage-guided fuzzing of what reads a cluster file: ``make fuzz``, or ``python tests/fuzz/cluster_file.py 300``.

Whatever stands in a file ends as a Spec, or as at most MOST_PROBLEMS printable lines, within SLOWEST seconds. An input
that does not is kept as ``artifacts/fuzz/crash-…`` (or ``timeout-…``) and shown with its traceback;
``python tests/fuzz/cluster_file.py artifacts/fuzz/crash-…`` runs it alone.
"""

import sys
from pathlib import Path

import atheris

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(CHECKOUT / "collections"))
with atheris.instrument_imports(include=["ansible_collections.kubesmith", "yaml"]):
    from ansible_collections.kubesmith.cluster.plugins.plugin_utils import inventory, load, spec
    from ansible_collections.kubesmith.cluster.plugins.plugin_utils.problems import MOST_PROBLEMS, SpecError

SLOWEST = 5
SEEDS = (
    "<<: *a\na: &a [*a, {b: !t c, ? [d] : e}]\n",
    "cluster: {name: a, kubernetes: stable, endpoint: 10.0.0.9}\nprovider: podman\nworkers: 3\ncontrol_planes: 1\n",
    "cluster: {name: a}\nprovider: ssh\nnodes:\n- &n {name: c, role: control-plane, address: 10.9.0.1}\n"
    "- {<<: *n, name: w}\ngroups: {g: {labels: {a/b: c}, taints: ['a=b:NoSchedule']}}\n"
    "access: {user: a, bastion: b@c, port: 22}\n",
    "cluster: {name: a}\nnetwork: {pods: 10.1.0.0/16, services: 10.2.0.0/16, proxy: iptables, calico: {mtu: 0}}\n"
    "kubeadm: {kubelet: {a: [1]}, patches: {etcd+json: [{op: add, path: /}]}, cert_sans: [a]}\n"
    "runtime: {registries: [{upstream: docker.io, mirrors: [{url: 'http://a'}]}]}\nfeatures: {audit_log: true}\n",
)


def words(schema: object) -> set[str]:
    """Return the names of settings and the values that they may have, for the mutations."""
    if isinstance(schema, dict):
        own = set(schema.get("properties", {})) | {str(word) for word in schema.get("enum", ())}
        return own.union(*map(words, schema.values()))
    return set().union(*map(words, schema)) if isinstance(schema, list) else set()


def one(data: bytes) -> None:
    """Read one file."""
    try:
        made = spec.check(load.parse(data, "f"), "f")
    except SpecError as error:
        lines = str(error).splitlines()
        assert 1 <= len(error.problems) == len(lines) <= MOST_PROBLEMS
        assert all(line.isprintable() and line.startswith("f:") for line in lines)
    else:
        inventory.build(made, [], state="/s", bundle="/b")


def main() -> None:
    """Fuzz for some seconds, or run the given inputs."""
    given = sys.argv[1] if len(sys.argv) > 1 else "300"
    folder = CHECKOUT / "artifacts" / "fuzz"
    corpus = folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, text in enumerate([*SEEDS, *(f.read_text() for f in (CHECKOUT / "inventories").glob("*/*.yml"))]):
        (corpus / f"seed-{number}").write_text(text)
    known = folder / "words"
    known.write_text(
        "".join(f'"{word}"\n' for word in sorted(words(spec.schema())) if word.isprintable() and '"' not in word)
    )
    limits = [f"-timeout={SLOWEST}", "-rss_limit_mb=2048", "-max_len=4096", f"-artifact_prefix={folder}/"]
    target = [f"-max_total_time={given}", f"-dict={known}", str(corpus)] if given.isdigit() else sys.argv[1:]
    atheris.Setup([sys.argv[0], *limits, *target], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
