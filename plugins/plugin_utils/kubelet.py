# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The settings of KubeletConfiguration (kubelet.config.k8s.io/v1beta1, as of Kubernetes 1.36 and 1.37) and their kinds.

A kubelet does not start with a value of another kind, and passes over a name that it does not know: both are found
here, before a machine is touched.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.kubesmith.cluster.plugins.plugin_utils.problems import shown

DURATION = re.compile(r"0|-?(\d+(\.\d+)?(ns|us|µs|ms|s|m|h))+")
KINDS = {
    "true or false": """
        enableServer rotateCertificates serverTLSBootstrap enableDebuggingHandlers enableContentionProfiling
        cgroupsPerQOS singleProcessOOMKill runOnce cpuCFSQuota serializeImagePulls mergeDefaultEvictionSettings
        enableControllerAttachDetach protectKernelDefaults makeIPTablesUtilChains failSwapOn
        kernelMemcgNotification enableSystemLogHandler enableSystemLogQuery enableProfilingHandler
        enableDebugFlagsHandler seccompDefault registerNode localStorageCapacityIsolation failCgroupV1""",
    "text": """
        staticPodPath podLogsDir staticPodURL address tlsCertFile tlsPrivateKeyFile tlsMinVersion
        healthzBindAddress clusterDomain kubeletCgroups systemCgroups cgroupRoot cgroupDriver cpuManagerPolicy
        memoryManagerPolicy topologyManagerPolicy topologyManagerScope hairpinMode podCIDR resolvConf
        contentType containerLogMaxSize reservedSystemCPUs showHiddenMetricsForVersion systemReservedCgroup
        kubeReservedCgroup volumePluginDir providerID containerRuntimeEndpoint imageServiceEndpoint
        imagePullCredentialsVerificationPolicy configMapAndSecretChangeDetectionStrategy memoryReservationPolicy""",
    "a duration such as 30s or 1h30m": """
        syncFrequency fileCheckFrequency httpCheckFrequency streamingConnectionIdleTimeout
        nodeStatusUpdateFrequency nodeStatusReportFrequency imageMinimumGCAge imageMaximumGCAge
        volumeStatsAggPeriod cpuManagerReconcilePeriod runtimeRequestTimeout cpuCFSQuotaPeriod
        evictionPressureTransitionPeriod containerLogMonitorInterval shutdownGracePeriod
        shutdownGracePeriodCriticalPods""",
    "a whole number": """
        port readOnlyPort registryPullQPS registryBurst eventRecordQPS eventBurst healthzPort oomScoreAdj
        nodeLeaseDurationSeconds imageGCHighThresholdPercent imageGCLowThresholdPercent maxPods
        nodeStatusMaxImages kubeAPIQPS kubeAPIBurst maxParallelImagePulls evictionMaxPodGracePeriod podsPerCore
        iptablesMasqueradeBit iptablesDropBit containerLogMaxFiles containerLogMaxWorkers podPidsLimit
        maxOpenFiles""",
    "a number": "memoryThrottlingFactor",
    "a list of texts": """
        tlsCipherSuites preloadedImagesVerificationAllowlist clusterDNS enforceNodeAllocatable
        allowedUnsafeSysctls""",
    "a list": "tlsCurvePreferences shutdownGracePeriodByPodPriority reservedMemory registerWithTaints",
    "a mapping of texts": """
        cpuManagerPolicyOptions topologyManagerPolicyOptions qosReserved evictionHard evictionSoft
        evictionSoftGracePeriod evictionMinimumReclaim systemReserved kubeReserved defaultPodSysctls""",
    "a mapping of true or false": "featureGates",
    "a mapping": """
        authentication authorization staticPodURLHeader memorySwap logging crashLoopBackOff tracing
        userNamespaces""",
}
KIND = {name: kind for kind, names in KINDS.items() for name in names.split()}
#: What the rest of the node is set up for: another value, and its pods do not start or it is no node.
FIXED = {
    "apiVersion": "kubelet.config.k8s.io/v1beta1",
    "kind": "KubeletConfiguration",
    "cgroupDriver": "systemd",
    "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
    "staticPodPath": "/etc/kubernetes/manifests",
    "registerNode": True,
}

WHY = {"cgroupDriver": "is not containerd's driver, systemd: with two of them no pod starts"}


def problems(settings: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield (setting, what is wrong, what to do) of each setting that a kubelet here would not take."""
    for name, value in settings.items():
        if name in FIXED:
            if value != FIXED[name]:
                yield (
                    name,
                    f"{shown(value)} {WHY.get(name, f'cannot be: the node is set up for {FIXED[name]}')}",
                    "leave it out",
                )
        elif name not in KIND:
            near = difflib.get_close_matches(name[:80], KIND, n=1, cutoff=0.6)
            hint = f"did you mean {near[0]}?" if near else "see https://kubernetes.io/docs/reference/config-api/"
            yield name, "is not a setting of KubeletConfiguration", hint
        elif value is not None and not right(KIND[name], value):
            quoted = (
                f'write "{shown(value)}" in quotes' if KIND[name] == "text" and isinstance(value, (int, float)) else ""
            )
            yield name, f"{shown(value)} is not {KIND[name]}", quoted


def right(kind: str, value: Any) -> bool:
    """Tell whether ``value`` is of a kind of KINDS."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    if kind in ("a list of texts", "a list"):
        return isinstance(value, (list, tuple)) and all(isinstance(v, str) or kind == "a list" for v in value)
    if kind.startswith("a mapping"):
        inner = {"a mapping of texts": str, "a mapping of true or false": bool}.get(kind, object)
        return isinstance(value, Mapping) and all(isinstance(v, inner) for v in value.values())
    return {
        "true or false": isinstance(value, bool),
        "text": isinstance(value, str),
        "a duration such as 30s or 1h30m": isinstance(value, str) and bool(DURATION.fullmatch(value)),
        "a whole number": whole and abs(value) < 2**63,
        "a number": whole or isinstance(value, float),
    }[kind]
