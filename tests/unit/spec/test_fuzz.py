"""Whatever a file holds, reading it ends soon, in a Spec or in problems that each fill one line."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import yaml
from ansible_collections.kubesmith.cluster.plugins.plugin_utils import inventory, load, spec
from ansible_collections.kubesmith.cluster.plugins.plugin_utils.problems import MOST_PROBLEMS, SpecError
from hypothesis import event, example, given, settings
from hypothesis import strategies as st

LONG = timedelta(seconds=5)  # a hang, not a slow machine
settings.register_profile("kubesmith", deadline=LONG, max_examples=300, derandomize=True)
settings.load_profile("kubesmith")

PIECES = r"""&a |*a|<<: |!!str |!x |- |: |:|? |{|}|[|]|,|'|"|#|  |cluster|name|nodes|1|~"""
TOKENS = st.sampled_from(
    [*PIECES.split("|"), "|\n", ">-\n", "\n", "\t", "---\n", "...\n", "%YAML 1.2\n", "\ufeff", "\x85", "\u2028"]
)
KEYS = ["name", "role", "address", "pods", "services", "mtu", "encapsulation", "upstream", "mirrors", "url", "kubelet"]
WORDS = ["podman", "ssh", "control-plane", "10.244.0.0/16", "10.96.0.1", "stable", "a", "key=v:NoSchedule", "", "١٢"]
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.sampled_from(WORDS))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.one_of(st.sampled_from(KEYS), st.text(max_size=8)), inner, max_size=6),
    ),
    max_leaves=30,
)
NODE = st.fixed_dictionaries(
    {},
    optional={
        "name": st.one_of(st.sampled_from(["a", "b", "cp1"]), VALUES),
        "role": st.one_of(st.sampled_from(["control-plane", "worker"]), VALUES),
        "address": st.one_of(st.ip_addresses(v=4).map(str), VALUES),
        "port": st.one_of(st.integers(-1, 70000), VALUES),
        "labels": VALUES,
        "taints": VALUES,
        "odd": VALUES,
    },
)
NETWORK = st.fixed_dictionaries(
    {},
    optional={
        "pods": st.one_of(st.just("10.128.0.0/9"), VALUES),
        "nodes": st.one_of(st.just("10.9.0.0/24"), VALUES),
        "calico": st.one_of(st.just({"mtu": 1400}), VALUES),
    },
)
SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "nodes": st.lists(NODE, max_size=4),
        "workers": st.one_of(st.integers(0, 20), VALUES),
        "network": NETWORK,
        "kubeadm": st.one_of(st.fixed_dictionaries({"kubelet": st.dictionaries(st.text(max_size=4), VALUES)}), VALUES),
        "runtime": VALUES,
        "cluster": VALUES,
        "odd": VALUES,
    },
)
LAB: dict[str, Any] = {"cluster": {"name": "a"}, "provider": "podman"}
PLANE = {"name": "cp1", "role": "control-plane", "address": "192.168.7.1"}
METAL: dict[str, Any] = {"cluster": {"name": "a"}, "provider": "ssh", "nodes": [PLANE]}


@st.composite
def files(draw: st.DrawFn) -> dict[str, Any]:
    """A right file in which a few settings were replaced by anything."""
    content = draw(st.sampled_from([LAB, METAL]))
    changes = draw(SETTINGS)
    kept = draw(st.sets(st.sampled_from(sorted(changes)), max_size=2)) if changes else set()
    return content | {key: changes[key] for key in kept}


def outcome(text: bytes) -> spec.Spec | list[str]:
    """Return the Spec, or the sentences; any other exception goes on and fails the test."""
    try:
        return spec.check(load.parse(text, "f"), "f")
    except SpecError as error:
        lines = str(error).splitlines()
        assert 1 <= len(error.problems) <= MOST_PROBLEMS
        assert len(lines) == len(error.problems)
        assert all(line.isprintable() and line.startswith("f:") for line in lines)
        return lines


@given(st.binary(max_size=200))
def test_any_bytes(text: bytes) -> None:
    outcome(text)


@given(st.text(max_size=200))
@example("a: \u2028b")
@example("\ufeff")
def test_any_text(text: str) -> None:
    outcome(text.encode("utf-8", "surrogatepass"))


@given(st.lists(TOKENS, max_size=60).map("".join))
def test_any_order_of_the_pieces_of_yaml(text: str) -> None:
    outcome(text.encode())


@given(VALUES)
def test_reading_gives_back_what_was_written(value: Any) -> None:
    """Text, whole numbers, booleans, null, lists and mappings survive; that is, the same data as JSON says it."""
    if has_number_with_a_point(value):
        return
    text = json.dumps({"value": value})
    try:
        assert load.parse(text.encode(), "f").data == {"value": with_text_for_long(value)}
    except SpecError as error:
        assert all("given twice" in p.message or "<<" in p.message or "not YAML" in p.message for p in error.problems)


@given(files())
@settings(max_examples=150)
def test_any_values_under_the_names_of_settings(content: dict[str, Any]) -> None:
    made = outcome(yaml.safe_dump(content, allow_unicode=True).encode("utf-8", "surrogatepass"))
    event("accepted" if isinstance(made, spec.Spec) else "refused")
    if isinstance(made, spec.Spec):
        built = inventory.build(made, [], state="/s", bundle="/b")
        assert sorted(built.hosts) == sorted(node.name for node in made.machines())
        json.dumps([built.variables, built.hosts, built.groups])


def has_number_with_a_point(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(has_number_with_a_point, value.values()))
    return isinstance(value, float) or (isinstance(value, list) and any(map(has_number_with_a_point, value)))


def with_text_for_long(value: Any) -> Any:
    """Whole numbers beyond 18 digits stay text."""
    if isinstance(value, dict):
        return {key: with_text_for_long(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [with_text_for_long(inner) for inner in value]
    is_long = isinstance(value, int) and not isinstance(value, bool) and len(str(abs(value))) > 18
    return str(value) if is_long else value
