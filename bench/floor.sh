#!/bin/bash
# A cluster on bare nodes by plain shell: what the roles do, without checks, repeatability or mercy.
# It is the floor that `make bench` measures kubesmith against; nothing else uses it.
#
#   floor.sh SSH_CONFIG BUNDLE CONTROL_PLANE [WORKER...]
#
# SSH_CONFIG names the nodes and lets us in as root; BUNDLE is a bundle's folder on this machine.
# Prints the seconds since the start at each milestone.
set -euo pipefail

ssh_config=$1 bundle=$(realpath "$2") control_plane=$3
shift 3
workers=("$@")
there=/var/lib/kubesmith/bundle
pods=10.244.0.0/16 services=10.96.0.0/12
kubectl="kubectl --kubeconfig /etc/kubernetes/admin.conf"

on() { # NODE: run the script on standard input there
  ssh -F "$ssh_config" "$1" bash -euo pipefail -s
}

milestone() { awk -v start="$start" -v now="$EPOCHREALTIME" -v text="$*" 'BEGIN {printf "%6.1f s  %s\n", now - start, text}'; }
start=$EPOCHREALTIME

# All files of the bundle with a place to go, and the images of the given sets as one OCI archive.
read -r -d '' helpers <<'SHELL' || true
there=/var/lib/kubesmith/bundle
install_files() {
  python3 - <<'PYTHON' | while read -r mode path target; do install -D -m "$mode" "$there/$path" "$target"; done
import json
for component in json.load(open("/var/lib/kubesmith/bundle/bundle.json"))["components"]:
    for file in component.get("files", []):
        if "install" in file:
            print(file["mode"], file["path"], file["install"])
PYTHON
}
import_images() {
  python3 - "$@" <<'PYTHON' | ctr -n k8s.io images import - >/dev/null
import io, json, sys, tarfile
there = "/var/lib/kubesmith/bundle"
components = json.load(open(f"{there}/bundle.json"))["components"]
images = [i for c in components for i in c.get("images", []) if i["set"] in sys.argv[1:]]
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
}
SHELL

copy_bundle() { # NODE: only where the provider has not mounted it
  ssh -F "$ssh_config" "$1" "test -e $there/bundle.json" ||
    tar -C "$bundle" -c . | ssh -F "$ssh_config" "$1" "mkdir -p $there && tar -C $there -x"
}

prepare() { # NODE HOSTS IMAGE_SET...: from a bare machine to containerd with images
  local node=$1 hosts=$2
  shift 2
  copy_bundle "$node"
  on "$node" <<SHELL
$helpers
swapoff -a || true
printf 'overlay\nbr_netfilter\n' > /etc/modules-load.d/kubernetes.conf
modprobe -a overlay br_netfilter 2>/dev/null || true
cat > /etc/sysctl.d/90-kubernetes.conf <<'END'
net.ipv4.ip_forward = 1
net.bridge.bridge-nf-call-iptables = 1
net.bridge.bridge-nf-call-ip6tables = 1
END
sysctl -q -e -p /etc/sysctl.d/90-kubernetes.conf || true
printf '%b' '$hosts' >> /etc/hosts
install_files
mkdir -p /etc/containerd
pause=\$(grep -o 'kubesmith.internal/pause:[^"]*' $there/bundle.json | head -1)
cat > /etc/containerd/config.toml <<END
version = 3
[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = '\$pause'
[plugins.'io.containerd.cri.v1.runtime']
restrict_oom_score_adj = $container
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
runtime_type = 'io.containerd.runc.v2'
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
SystemdCgroup = true
END
systemctl daemon-reload
systemctl enable -q --now containerd
systemctl enable -q kubelet
mkdir -p /etc/kubernetes/manifests
import_images $*
SHELL
}

address_of() { ssh -F "$ssh_config" -G "$1" | awk '$1 == "hostname" {print $2}'; }

container=false
ssh -F "$ssh_config" "$control_plane" systemd-detect-virt -cq && container=true
api=$(address_of "$control_plane")
hosts=''
for node in "$control_plane" "${workers[@]}"; do hosts+="$(address_of "$node") $node\\n"; done

# Workers get their images while the control plane is initialised.
for node in "${workers[@]}"; do prepare "$node" "$hosts" node verify & done
prepare "$control_plane" "$hosts" control-plane node verify
milestone "control plane prepared"

relaxed='' conntrack=''
if $container; then
  relaxed=$'failSwapOn: false\nfailCgroupV1: false\nfeatureGates: {KubeletInUserNamespace: true}\n'
  # How full the host's disk is says nothing of the node: with the usual limits no pod would be placed on it.
  relaxed+=$'imageGCHighThresholdPercent: 100\nevictionHard: {memory.available: 100Mi, nodefs.available: 1Gi, imagefs.available: 1Gi}'
  conntrack='conntrack: {maxPerCore: 0}'
fi
version=$(python3 -c 'import json,sys; print(json.load(open(sys.argv[1]))["kubernetes"])' "$bundle/bundle.json")
token=$(tr -dc a-z0-9 </dev/urandom | head -c 6 || true).$(tr -dc a-z0-9 </dev/urandom | head -c 16 || true)

on "$control_plane" <<SHELL
mkdir -p /etc/kubernetes
cat > /etc/kubernetes/kubeadm.yml <<END
apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
bootstrapTokens: [{token: $token, ttl: 1h}]
localAPIEndpoint: {advertiseAddress: $api}
nodeRegistration:
  name: $control_plane
  criSocket: unix:///run/containerd/containerd.sock
  kubeletExtraArgs: [{name: node-ip, value: $api}]
  ignorePreflightErrors: [all]
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
clusterName: floor
kubernetesVersion: v$version
imageRepository: kubesmith.internal
networking: {podSubnet: $pods, serviceSubnet: $services}
---
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
cgroupDriver: systemd
$relaxed
---
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
$conntrack
END
kubeadm init --config /etc/kubernetes/kubeadm.yml > /var/log/kubeadm-init.log 2>&1
sed 's|CrossSubnet|Always|' $there/manifests/calico-vxlan.yml | $kubectl apply -f - > /dev/null
SHELL
milestone "control plane initialised, Calico applied"

wait
milestone "workers prepared"
hash=$(on "$control_plane" <<'SHELL'
openssl x509 -pubkey -noout -in /etc/kubernetes/pki/ca.crt | openssl pkey -pubin -outform der | sha256sum | cut -d' ' -f1
SHELL
)
for node in "${workers[@]}"; do
  on "$node" <<SHELL &
mkdir -p /etc/kubernetes
cat > /etc/kubernetes/kubeadm.yml <<END
apiVersion: kubeadm.k8s.io/v1beta4
kind: JoinConfiguration
discovery:
  bootstrapToken: {apiServerEndpoint: "$api:6443", token: $token, caCertHashes: ["sha256:$hash"]}
nodeRegistration:
  name: $node
  criSocket: unix:///run/containerd/containerd.sock
  kubeletExtraArgs: [{name: node-ip, value: $(address_of "$node")}]
  ignorePreflightErrors: [all]
END
kubeadm join --config /etc/kubernetes/kubeadm.yml > /var/log/kubeadm-join.log 2>&1
SHELL
done
wait
milestone "workers joined"

on "$control_plane" <<SHELL
$kubectl wait --for=condition=Ready nodes --all --timeout=300s > /dev/null
SHELL
milestone "nodes Ready"
on "$control_plane" <<SHELL
$kubectl wait --for=condition=Ready pods --all -n kube-system --timeout=300s > /dev/null
SHELL
milestone "pods Ready"
