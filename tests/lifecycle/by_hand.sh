# shellcheck shell=bash
# A cluster as somebody may have built it: kubeadm init and kubeadm join by hand, programs in /usr/bin, units in
# /etc/systemd/system, Calico applied from its manifest.
#
#   by_hand.sh SSH_CONFIG CONTROL_PLANE WORKER...
set -euo pipefail
ssh_config=$1 first=$2
shift 2
on() { ssh -F "$ssh_config" "$1" bash -euo pipefail -s; }
address_of() { ssh -F "$ssh_config" -G "$1" | awk '$1 == "hostname" {print $2}'; }
api=$(address_of "$first")
hosts=$(for node in "$first" "$@"; do echo "$(address_of "$node") $node"; done)

prepare() {
  on "$1" <<'SHELL'
bundle=/var/lib/kubesmith/bundle
install -m 755 $bundle/bin/{kubeadm,kubelet,kubectl,containerd,containerd-shim-runc-v2,ctr,runc} /usr/bin/
install -D -m 755 -t /opt/cni/bin $bundle/bin/cni/*
mkdir -p /etc/systemd/system/kubelet.service.d /etc/containerd /etc/kubernetes/manifests
for unit in containerd.service kubelet.service; do
  sed 's|/usr/local/s\?bin/|/usr/bin/|g' $bundle/etc/$unit >/etc/systemd/system/$unit
done
sed 's|/usr/local/bin/|/usr/bin/|g' $bundle/etc/10-kubeadm.conf >/etc/systemd/system/kubelet.service.d/10-kubeadm.conf
pause=$(grep -o 'kubesmith.internal/pause:[^"]*' $bundle/bundle.json | head -1)
cat >/etc/containerd/config.toml <<END
version = 3
[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = '$pause'
[plugins.'io.containerd.cri.v1.runtime']
restrict_oom_score_adj = true
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
runtime_type = 'io.containerd.runc.v2'
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
SystemdCgroup = true
END
printf 'net.ipv4.ip_forward = 1\n' >/etc/sysctl.d/k8s.conf
sysctl -q -p /etc/sysctl.d/k8s.conf
systemctl daemon-reload
systemctl enable -q --now containerd
systemctl enable -q kubelet
python3 - <<'PYTHON' | ctr -n k8s.io images import - >/dev/null
import io, json, sys, tarfile
there = "/var/lib/kubesmith/bundle"
components = json.load(open(f"{there}/bundle.json"))["components"]
images = [i for c in components for i in c["images"] if i["set"] != "verify"]
wanted = {i["digest"] for i in images}
index = json.load(open(f"{there}/images/index.json"))
index["manifests"] = [m for m in index["manifests"] if m["digest"] in wanted]
archive = tarfile.open(fileobj=sys.stdout.buffer, mode="w|")
text = json.dumps(index).encode()
header = tarfile.TarInfo("index.json")
header.size = len(text)
archive.addfile(header, io.BytesIO(text))
archive.add(f"{there}/images/oci-layout", "oci-layout")
for blob in sorted({b.split(":")[1] for i in images for b in [i["digest"], *i["blobs"]]}):
    archive.add(f"{there}/images/blobs/sha256/{blob}", f"blobs/sha256/{blob}")
archive.close()
PYTHON
SHELL
}

for node in "$first" "$@"; do
  on "$node" <<<"grep -v '$node' /etc/hosts >/run/hosts; cat /run/hosts - >/etc/hosts <<'END'"$'\n'"$hosts"$'\nEND'
  prepare "$node" &
done
wait
on "$first" <<SHELL
version=\$(python3 -c 'import json; print(json.load(open("/var/lib/kubesmith/bundle/bundle.json"))["kubernetes"])')
cat >/root/kubeadm.yml <<END
apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
localAPIEndpoint: {advertiseAddress: $api}
nodeRegistration:
  name: $first
  kubeletExtraArgs: [{name: node-ip, value: $api}]
  ignorePreflightErrors: [all]
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
clusterName: Hand Made
kubernetesVersion: v\$version
imageRepository: kubesmith.internal
networking: {podSubnet: 10.32.0.0/16, serviceSubnet: 10.97.0.0/16, dnsDomain: home.arpa}
---
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
maxPods: 77
failSwapOn: false
failCgroupV1: false
imageGCHighThresholdPercent: 100
evictionHard: {memory.available: 100Mi, nodefs.available: 1Gi, imagefs.available: 1Gi}
featureGates: {KubeletInUserNamespace: true}
---
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: iptables
conntrack: {maxPerCore: 0}
END
chmod 700 /var/lib/etcd # a volume here: kubeadm makes it so where it makes it itself
kubeadm init --config /root/kubeadm.yml >/root/init.log 2>&1 || { tail -40 /root/init.log; exit 1; }
export KUBECONFIG=/etc/kubernetes/admin.conf
sed 's|CrossSubnet|Always|' /var/lib/kubesmith/bundle/manifests/calico-vxlan.yml | kubectl apply -f - >/dev/null
SHELL
words=$(on "$first" <<<'kubeadm token create --print-join-command')
for node in "$@"; do
  on "$node" <<SHELL
echo 'KUBELET_EXTRA_ARGS=--node-ip=$(address_of "$node")' >/etc/default/kubelet
$words --node-name $node --ignore-preflight-errors all >/root/join.log 2>&1 || { tail -40 /root/join.log; exit 1; }
SHELL
done
on "$first" <<'SHELL'
export KUBECONFIG=/etc/kubernetes/admin.conf
kubectl wait --for=condition=Ready nodes --all --timeout=300s >/dev/null
kubectl wait --for=condition=Ready pods --all -n kube-system --timeout=300s >/dev/null
SHELL
