"""The probe meter: what counts as an outage, and what it makes in the cluster."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from kubesmith import probe
from kubesmith.probe import Outage, Samples


def test_an_outage_lasts_until_the_next_request_that_succeeds() -> None:
    rows = [(0.0, ""), (0.2, "refused"), (0.4, "timed out"), (0.9, ""), (1.0, ""), (1.2, "reset"), (1.4, "reset")]
    assert probe.outages(rows) == [Outage(0.2, 0.7, "refused"), Outage(1.2, 0.2, "reset")]
    assert probe.outages([(0.0, "")]) == probe.outages([]) == []


def samples(*rows: tuple[float, str]) -> Samples:
    found = Samples()
    for row in rows:
        found.add(*row)
    return found


def test_a_report_is_of_its_own_part_of_the_time() -> None:
    workload = {"w1": samples((11.0, ""), (10.0, "refused"), (3.0, "refused"))}
    api = samples((9.0, ""), (10.5, "timed out"), (12.0, ""), (30.0, "late"))
    made = probe.report("cp1", 5.0, 14.0, workload, api)
    assert (made.requests, made.failed, made.outages) == (2, 1, (Outage(10.0, 1.0, "refused"),))
    assert (made.api_requests, made.api_failed, made.api_gap) == (3, 1, 1.5)
    assert made.lost == ()
    assert made.lines() == [
        "workload: 1 of 2 requests failed, 1.0 s without an answer",
        "API: 1.5 s without an answer (1 of 3 requests failed)",
    ]
    assert json.loads(json.dumps(made.as_json()))["api_gaps"][0]["reason"] == "timed out"


def test_a_node_that_went_silent_is_no_success() -> None:
    made = probe.report("all", 0.0, 60.0, {"w1": samples((1.0, "")), "w2": samples()}, samples((59.0, "")))
    assert made.lost == ("w1", "w2")
    assert made.lines()[-1] == "not asked to the end from: w1, w2"


def test_the_workload_is_what_a_careful_user_would_have() -> None:
    kinds = {item["kind"]: item for item in probe.objects("n", "kubesmith.internal/agnhost:1")}
    assert kinds["Deployment"]["spec"]["replicas"] == 2
    assert kinds["Deployment"]["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert kinds["PodDisruptionBudget"]["spec"]["minAvailable"] == 1
    assert kinds["Service"]["spec"]["selector"] == {"app": "probe"}
    assert kinds["Namespace"]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


class Answer(BaseHTTPRequestHandler):
    status = 200

    def do_GET(self) -> None:
        self.send_response(Answer.status)
        self.end_headers()

    def log_message(self, *_words: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[HTTPServer]:
    made = HTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


def test_what_runs_on_a_node_asks_again_and_again_and_ends_with_its_input(server: HTTPServer) -> None:
    command = [sys.executable, "-uc", probe.REQUESTS, "127.0.0.1", str(server.server_port), "0.02", "1"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdin
        first = json.loads(process.stdout.readline())
        good = [json.loads(process.stdout.readline()) for _row in range(3)]
        Answer.status = 503
        time.sleep(0.1)
        bad = [json.loads(process.stdout.readline()) for _row in range(20)][-1]
        Answer.status = 200
        process.stdin.close()
        assert process.wait(5) == 0
    assert first[1] == "start"
    assert [error for _at, error in good] == ["", "", ""]
    assert bad[1] == "HTTP 503"
