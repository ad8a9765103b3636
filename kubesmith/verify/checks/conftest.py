"""Fixtures of the checks: ``node``, ``control_plane``, ``worker`` (each one in turn), ``pair`` and ``cluster``.

Run them by hand with: pytest kubesmith/verify/checks --hosts=ansible://all --ansible-inventory=INVENTORY
"""

from __future__ import annotations

import ast
import re
from collections.abc import Generator
from itertools import permutations
from typing import Any

import pytest
import testinfra
from testinfra.utils.ansible_runner import AnsibleRunner

from kubesmith.verify import calendar
from kubesmith.verify.nodes import Node, plain
from kubesmith.verify.state import Cluster, Missing
from kubesmith.verify.stream import NAME

CHECK_ID = re.compile(r"\s*(?P<id>[A-Z]\d+): (?P<sentence>.+)")
PROOFS = {"probe", "paths", "workload", "later"}  # fixtures that need the probe's pods
CLUSTER = pytest.StashKey[Cluster]()
COMPARED = pytest.StashKey[tuple[str, str]]()
JOURNALS = pytest.StashKey[dict[str, list[str]]]()


# --- which checks, on which nodes


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let a run be limited to some checks."""
    parser.addoption("--checks", default="", help="only these checks or groups, such as C,G5 (default: all)")


def pytest_sessionstart(session: pytest.Session) -> None:
    """Read the inventory once, without connecting to any host."""
    option = session.config.option
    try:
        runner = AnsibleRunner.get_runner(option.ansible_inventory)
        runner.inventory = plain(runner.inventory)
        hosts = testinfra.get_hosts(
            [option.hosts or "ansible://all"], ansible_inventory=option.ansible_inventory, connection=option.connection
        )
    except (AssertionError, RuntimeError) as error:
        raise pytest.UsageError(f"the inventory cannot be read: {_stderr(error)}") from None
    session.config.stash[CLUSTER] = Cluster(Node(host) for host in hosts)
    if not session.config.stash[CLUSTER].control_planes:
        raise pytest.UsageError("the inventory has no host in the group kube_control_plane")


def _stderr(error: Exception) -> str:
    """Return what ansible-inventory said, out of testinfra's message."""
    found = re.search(r"_stderr=(b(['\"]).*?\2)\)", str(error), re.DOTALL)
    said = ast.literal_eval(found[1]).decode() if found else str(error)
    return said.partition("Traceback")[0].strip()


def _cluster(config: pytest.Config) -> Cluster:
    return config.stash[CLUSTER]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Repeat a check for each node, each control plane, each worker, or each ordered pair of nodes."""
    nodes = _cluster(metafunc.config).nodes.values()
    choices: dict[str, list[Any]] = {
        "any_node": list(nodes),
        "node": list(nodes),
        "control_plane": [node for node in nodes if node.is_control_plane],
        "worker": [node for node in nodes if node.is_worker],
        "pair": list(permutations(nodes, 2)),
    }
    for name in choices.keys() & set(metafunc.fixturenames):
        ids = ["→".join(map(str, value)) if name == "pair" else str(value) for value in choices[name]]
        metafunc.parametrize(name, choices[name] or [None], ids=ids or ["none"], indirect=True)


def _given(request: pytest.FixtureRequest) -> Any:
    if request.param is None:
        pytest.skip(f"the inventory has no {request.fixturename}".replace("_", " "))
    return request.param


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the wanted checks; put those first that wait for nothing but the nodes' own facts."""
    wanted = [word for word in config.option.checks.upper().replace(" ", "").split(",") if word]
    kept = [item for item in items if not wanted or _is_wanted(check_id(item), wanted)]
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = sorted(kept, key=lambda item: len(PROOFS & _fixtures(item)))


def _is_wanted(check: str, wanted: list[str]) -> bool:
    return any(check == word or (word.isalpha() and check.startswith(word)) for word in wanted)


def _fixtures(item: pytest.Item) -> set[str]:
    return set(getattr(item, "fixturenames", ()))


def check_id(item: pytest.Item) -> str:
    """Return the check's number, such as C2, from its docstring."""
    found = CHECK_ID.match(getattr(getattr(item, "function", None), "__doc__", "") or "")
    return found["id"] if found else ""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Begin gathering in the background before the first check runs."""
    for item in session.items:
        item.user_properties.append(("node", str(_node_of(item) or "cluster")))
    if not session.config.option.collectonly and session.items:
        _cluster(session.config).begin(PROOFS & set().union(*map(_fixtures, session.items)))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Remove the probe, whatever became of the checks, interrupted ones included; tell of the certificates."""
    if CLUSTER in session.config.stash:
        session.config.stash[CLUSTER].end()
        if stream := session.config.pluginmanager.get_plugin(NAME):
            stream.send("certificates", rows=calendar.rows(_cluster(session.config).certificates))


# --- what a check is given


@pytest.fixture
def any_node(request: pytest.FixtureRequest) -> Any:
    """A node, whether it answers or not."""
    return _given(request)


@pytest.fixture
def node(request: pytest.FixtureRequest) -> Any:
    """A node."""
    return _given(request)


@pytest.fixture
def control_plane(request: pytest.FixtureRequest) -> Any:
    """A control plane."""
    return _given(request)


@pytest.fixture
def worker(request: pytest.FixtureRequest) -> Any:
    """A worker."""
    return _given(request)


@pytest.fixture
def pair(request: pytest.FixtureRequest) -> Any:
    """Two nodes, one after the other: from the first to the second."""
    return _given(request)


@pytest.fixture
def cluster(request: pytest.FixtureRequest) -> Cluster:
    """All nodes, and what the API server knows of them."""
    return _cluster(request.config)


@pytest.fixture
def facts(request: pytest.FixtureRequest, cluster: Cluster) -> Any:
    """The facts of the node that this check is about; the first control plane's if it is about none."""
    return cluster.facts((_node_of(request) or cluster.api).name)


@pytest.fixture
def probe(cluster: Cluster) -> Any:
    """The probe's pods by node. Fails, where the other fixtures skip, if the probe could not be deployed."""
    assert cluster.probe_error == ""
    return cluster.probe["pods"]


@pytest.fixture
def paths(request: pytest.FixtureRequest, cluster: Cluster) -> Any:
    """The network proofs made on the node that this check is about."""
    node = _node_of(request)
    assert node is not None
    return cluster.paths(node.name)


@pytest.fixture
def later(request: pytest.FixtureRequest, cluster: Cluster) -> Any:
    """What the node that this check is about, or the first control plane, says once the proofs are done."""
    return cluster.later((_node_of(request) or cluster.api).name)


@pytest.fixture
def workload(cluster: Cluster) -> Any:
    """The proofs made with kubectl."""
    return cluster.workload()


def _node_of(request: Any) -> Node | None:
    parameters = getattr(getattr(request, "node", request), "callspec", None)
    values = parameters.params.values() if parameters else ()
    found = [value[0] if isinstance(value, tuple) else value for value in values]
    return next((value for value in found if isinstance(value, Node)), None)


# --- how a check fails


def _skip_if_missing() -> Generator[None, Any, Any]:
    """Turn the lack of what a check builds on into a skip with the reason; another check fails for it."""
    try:
        return (yield)
    except Missing as reason:
        pytest.skip(str(reason))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, Any, Any]:
    """Skip what cannot be looked at."""
    return (yield from _skip_if_missing())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Skip what cannot be looked at."""
    return (yield from _skip_if_missing())


def pytest_assertrepr_compare(config: pytest.Config, op: str, left: object, right: object) -> list[str]:
    """Say what was seen and what was expected: in a check, what was seen stands on the left."""
    expected = str(right) if op == "==" else f"{op} {right}"
    config.stash[COMPARED] = (expected, str(left))
    return [f"expected {expected}", f"seen {left}"]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """Give each report the check's number, sentence and node, and a failure what was expected, seen and logged."""
    report = yield
    found = CHECK_ID.match(getattr(getattr(item, "function", None), "__doc__", "") or "")
    node = _node_of(item)
    report.kubesmith = {
        "check": found["id"] if found else "",
        "sentence": found["sentence"] if found else item.name,
        "node": str(node) if node else "cluster",
        "target": getattr(item, "callspec").id if node else "cluster",  # noqa: B009
    }
    if report.failed:
        expected, seen = item.config.stash.get(COMPARED, ("", ""))
        reason = str(call.excinfo.value).partition("\nassert ")[0].strip() if call.excinfo else ""
        report.kubesmith.update(expected=expected, seen=seen or reason, message=reason)
        report.sections += _journal(item.config, node)
    item.config.stash[COMPARED] = ("", "")
    return report


def _journal(config: pytest.Config, node: Node | None) -> list[tuple[str, str]]:
    """Return the last lines of the node's journal as a section of the report; each node is asked once."""
    if node is None:
        return []
    known = config.stash.setdefault(JOURNALS, {})
    if node.name not in known:
        known[node.name] = node.journal()
    return [(f"journal of {node}: kubelet and containerd", "\n".join(known[node.name]))]
