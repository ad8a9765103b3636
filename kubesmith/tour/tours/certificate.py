"""T14: the API server's certificate expires before everybody's eyes, and is renewed."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from kubesmith.errors import KubesmithError
from kubesmith.tour.journal import Undo
from kubesmith.tour.stage import Stage
from kubesmith.tour.tours.components import refusal

PKI = "/etc/kubernetes/pki"
SAVED = "/etc/kubernetes/kubesmith-tour-pki"
LIFE = 45  # seconds that the certificate of this tour lives
#: The API server looks at its files once a minute, and at once where the kernel tells it of a change.
NOTICED = 75.0
WAY_BACK = f"""\
if [ -e {SAVED}/apiserver.key ]; then
install -m 600 {SAVED}/apiserver.key {PKI}/apiserver.key
install -m 644 {SAVED}/apiserver.crt {PKI}/apiserver.crt
fi
rm -rf {SAVED} /run/kubesmith-tour-kubeadm.yaml"""
SAVE = f"install -d -m 700 {SAVED} && cp -p {PKI}/apiserver.crt {PKI}/apiserver.key {SAVED}/"
#: kubeadm renews with the life that its configuration gives: here seconds instead of a year.
SHORTEN = f"""\
kubectl --kubeconfig /etc/kubernetes/admin.conf -n kube-system get cm kubeadm-config \
-o 'jsonpath={{.data.ClusterConfiguration}}' | sed '/^certificateValidityPeriod:/d' >/run/kubesmith-tour-kubeadm.yaml
echo 'certificateValidityPeriod: {LIFE}s' >>/run/kubesmith-tour-kubeadm.yaml
kubeadm certs renew apiserver --config /run/kubesmith-tour-kubeadm.yaml"""
#: What the server shows to everybody who connects, the certificate unchecked.
SHOWN = """\
python3 -c "import ssl, sys; print(ssl.get_server_certificate((sys.argv[1], 6443)))" {address}"""


def take(stage: Stage) -> None:
    """Take the tour."""
    from cryptography import x509  # noqa: PLC0415 - it takes a tenth of a second that other tours need not wait

    node = stage.nodes.control_planes[0]
    address = stage.nodes.address(node)

    def ends() -> datetime:
        try:
            text = stage.nodes.run(node, SHOWN.format(address=address))
        except KubesmithError:
            return datetime.max.replace(tzinfo=UTC)
        return x509.load_pem_x509_certificate(text.encode()).not_valid_after_utc

    before = ends()
    stage.see("valid", source="probe", ends=f"{before:%Y-%m-%d %H:%M:%S}")
    stage.act("save", lambda: stage.nodes.run(node, SAVE), Undo(node=node, script=WAY_BACK), node=node)
    stage.zero()
    stage.act("shorten", lambda: stage.nodes.run(node, SHORTEN), node=node, seconds=LIFE)
    stage.must("shown", lambda: ends() < before, NOTICED, 1)
    end = ends()
    left = end.timestamp() - stage.record.zero
    stage.see("shown", source="probe", ends=f"{end:%H:%M:%S}")
    stage.claim("works_yet", not refusal(stage) or time.time() >= end.timestamp())
    stage.must("expired", lambda: "expired" in asked(stage, node, address), max(left, 1) + 60, 0.5)
    stage.see("expired", between=(left - 1, left + 2), source="kubectl", why=asked(stage, node, address))
    stage.claim("refused", "expired" in asked(stage, node, address), why=asked(stage, node, address))
    stage.say("mend")
    renew = "kubeadm certs renew apiserver"
    stage.act("renew", lambda: stage.nodes.run(node, renew), node=node, command=renew)
    began = time.time()
    stage.must("api", lambda: not asked(stage, node, address), NOTICED + 30, 1)
    stage.see("api", source="kubectl", seconds=time.time() - began)
    year = (ends() - datetime.now(UTC)).days
    stage.claim("renewed", year > 1, days=year)


def asked(stage: Stage, node: str, address: str) -> str:
    """Return why kubectl is not answered by this very API server, empty if it is."""
    command = f"kubectl --kubeconfig /etc/kubernetes/admin.conf --server https://{address}:6443 get --raw /readyz"
    try:
        stage.nodes.run(node, f"{command} --request-timeout=5s")
    except KubesmithError as error:
        return str(error).partition(": ")[2][-160:]
    return ""
