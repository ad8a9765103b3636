"""Failure tours of the control plane: without scheduler, controller manager or API server."""

from __future__ import annotations

import time

from kubesmith import kube
from kubesmith.errors import KubesmithError
from kubesmith.tour.api import Object
from kubesmith.tour.stage import Stage, leaving
from kubesmith.tour.tours import parts
from kubesmith.tour.workload import PORT, on, service, web

QUIET = 8.0  # seconds in which something must not happen
RESUMED = 60.0  # seconds: a static pod is seen within 20 s, a leader's lease ends after 15 s


def scheduler(stage: Stage) -> None:
    """T5: pods stay Pending without a scheduler; one is bound by hand; the scheduler comes back."""
    stage.space()
    parts.take_away(stage, "kube-scheduler")
    stage.zero()
    stage.act("deployment", lambda: stage.create(web(stage.image(), spec=on([stage.worker]))))
    pod = stage.must("pod_there", lambda: stage.pods("app=web"), 30)[0]
    name, place = pod["metadata"]["name"], f"/api/v1/namespaces/{stage.namespace}/pods/{pod['metadata']['name']}"
    stage.see("pending", source="pod", pod=name)
    time.sleep(QUIET)  # the length of the wait is the evidence
    pod = stage.api.get(place)
    stage.claim("pending", pod["status"]["phase"] == "Pending" and not pod["spec"].get("nodeName"), seconds=QUIET)
    stage.claim("no_event", not parts.events(stage, "Scheduled"))
    stage.say("by_hand")
    binding: Object = {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": name},
        "target": {"apiVersion": "v1", "kind": "Node", "name": stage.worker},
    }
    stage.act("bind", lambda: stage.api.raw("POST", f"{place}/binding", binding), pod=name, node=stage.worker)
    stage.ready()
    stage.see("running", source="pod", pod=name)
    stage.claim("by_hand", not parts.events(stage, "Scheduled"), pod=name, node=stage.worker)
    stage.say("back")
    scale(stage, 2)
    parts.bring_back(stage, "kube-scheduler")
    began = time.time()
    stage.must("scheduled", lambda: parts.events(stage, "Scheduled"), RESUMED * 2)
    stage.see("scheduled", source="event", seconds=time.time() - began)
    stage.claim("resumed", stage.ready("web", 2), seconds=time.time() - began)


def scale(stage: Stage, replicas: int, name: str = "web") -> None:
    """Have a Deployment of the tour want another number of pods."""
    place = f"/apis/apps/v1/namespaces/{stage.namespace}/deployments/{name}"
    stage.act("scale", lambda: stage.api.patch(place, {"spec": {"replicas": replicas}}), name=name, replicas=replicas)


def controller_manager(stage: Stage) -> None:
    """T6: without the controller manager a deleted pod is not replaced."""
    stage.space()
    stage.create(web(stage.image(), 2))
    pods = stage.ready("web", 2)
    parts.take_away(stage, "kube-controller-manager")
    stage.zero()
    victim = pods[0]["metadata"]["name"]
    place = f"/api/v1/namespaces/{stage.namespace}/pods/{victim}"
    stage.act("delete", lambda: stage.api.delete(place), pod=victim)
    stage.must("pod_gone", lambda: stage.api.find(place) is None, 60)
    stage.see("gone", source="pod", pod=victim)
    time.sleep(QUIET)
    left = [pod for pod in stage.pods("app=web") if not leaving(pod)]
    stage.claim("not_replaced", len(left) == 1, count=len(left), seconds=QUIET)
    wanted = stage.api.get(f"/apis/apps/v1/namespaces/{stage.namespace}/deployments/web")
    stage.claim("still_wanted", wanted["spec"]["replicas"] == 2, replicas=wanted["spec"]["replicas"])
    stage.say("back")
    parts.bring_back(stage, "kube-controller-manager")
    began = time.time()
    again = stage.must("replaced", lambda: [p for p in stage.pods("app=web") if not leaving(p)][1:], RESUMED * 2)
    stage.see("replaced", source="pod", pod=again[0]["metadata"]["name"], seconds=time.time() - began)
    stage.claim("resumed", stage.ready("web", 2), seconds=time.time() - began)


def api_server(stage: Stage) -> None:
    """T7: without the API server kubectl fails, and everything that runs goes on."""
    stage.space()
    stage.create(web(stage.image(), spec=on([stage.worker])), service())
    pod = stage.ready()[0]
    address = stage.api.get(f"/api/v1/namespaces/{stage.namespace}/services/web")["spec"]["clusterIP"]
    urls = {"service": f"http://{address}/hostname", "pod": f"http://{pod['status']['podIP']}:{PORT}/hostname"}
    stage.must("answers", lambda: parts.answers(stage, stage.worker, urls["service"]), 30)
    before = parts.containers(stage, stage.worker, pod)
    with stage.asking(stage.worker, urls) as answers:
        stage.zero()
        parts.take_away(stage, "kube-apiserver")
        why = refusal(stage)
        stage.see("kubectl", source="kubectl", why=why)
        stage.claim("kubectl_fails", why, why=why or "-")
        count = parts.containers(stage, stage.worker, pod)
        stage.claim("containers_run", count and count == before, count=count, node=stage.worker)
        time.sleep(QUIET)
        stage.say("back")
        parts.bring_back(stage, "kube-apiserver")
        stage.must("api", lambda: not refusal(stage), RESUMED * 3, 1)
        stage.see("api", source="kubectl")
    for name, row in answers.items():
        stage.claim(f"served_{name}", row["sent"] and row["good"] == row["sent"], good=row["good"], sent=row["sent"])
    now = stage.api.find(f"/api/v1/namespaces/{stage.namespace}/pods/{pod['metadata']['name']}") or {}
    restarts = [row["restartCount"] for row in now.get("status", {}).get("containerStatuses", ())]
    stage.claim("not_restarted", restarts and not any(restarts), restarts=sum(restarts))


def refusal(stage: Stage) -> str:
    """Return kubectl's last words if it gets no answer, empty if it gets one."""
    try:
        kube.get(stage.job.kubeconfig, ["nodes"])
    except KubesmithError as error:
        return str(error)[:150]
    return ""
