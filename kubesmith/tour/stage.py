"""The frame that every tour stands on: it explains, acts, collects, asserts; all it did can be taken back."""

from __future__ import annotations

import json
import secrets
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from rich.text import Text

from kubesmith.errors import KubesmithError
from kubesmith.job import Job
from kubesmith.tour.api import Cluster, Denied, Object, Unanswered, path
from kubesmith.tour.journal import Journal, Undo, Ways
from kubesmith.tour.nodes import Nodes
from kubesmith.tour.power import Switch
from kubesmith.tour.record import Entry, Opened, Record, Step
from kubesmith.tour.texts import Texts
from kubesmith.ui import Ui
from kubesmith.verify import background

T = TypeVar("T")
WIDTH = 80
READING = 14.0  # characters that are read in a second
EVERY = 0.3  # seconds between two looks
LABEL = "kubesmith.io/tour"
FLAG = "/run/kubesmith-tour"
LATE = 30.0  # seconds that a busy machine may be late
MOST_READY = 120.0  # seconds for pods of a tour to be ready


class Failed(KubesmithError):
    """Something that a tour waited for did not come."""


class Teller:
    """Says a tour's words to a person, or its entries to a program."""

    def __init__(self, ui: Ui, texts: Texts, tour: str, *, pace: bool = False) -> None:
        self.ui = ui
        self.texts = texts
        self.tour = tour
        self.pace = pace
        self.zero = 0.0

    def text(self, entry: Entry) -> str:
        """Return the words of an entry."""
        return words(self.texts, self.tour, entry)

    def tell(self, entry: Entry) -> None:
        """Tell one entry."""
        text = self.text(entry)
        self.ui.event(
            "tour", tour=self.tour, what=entry.kind, key=entry.key, text=text, ok=entry.ok, values=entry.values
        )
        quiet = not (entry.kind == "claim" and not entry.ok)
        if not (quiet and (self.ui.quiet or self.ui.as_json)):
            line(self.ui, entry, text, self.zero, self.texts)
        if entry.kind == "say" and self.pace:
            self.wait(text)

    def wait(self, text: str) -> None:
        """Let the text be read: until Enter is pressed, or without a terminal for as long as reading takes."""
        if not sys.stdin.isatty() or self.ui.as_json:
            time.sleep(min(10.0, len(text) / READING))
            return
        self.ui.console.print(Text(f"  {self.texts('frame.enter')}", "dim"), end="")
        sys.stdin.readline()


def words(texts: Texts, tour: str, entry: Entry) -> str:
    """Return the words of an entry: those of the tour itself, else those that all tours share."""
    own = f"tours.{tour}.{entry.kind}.{entry.key}"
    values = {name: texts(value[1:]) if _is_key(value) else value for name, value in entry.values.items()}
    return texts(own if texts.has(own) else f"shared.{entry.kind}.{entry.key}", **values)


def _is_key(value: object) -> bool:
    """Tell whether a value is itself a text: ``@`` and its key."""
    return isinstance(value, str) and value.startswith("@")


def line(ui: Ui, entry: Entry, text: str, zero: float, texts: Texts) -> None:
    """Print one entry, wrapped to what a terminal of 80 columns holds."""
    marks = {"say": ("", ""), "act": ("» ", "bold cyan"), "see": ("", ""), "claim": ("✓ ", "green")}
    mark, style = marks[entry.kind]
    if entry.kind == "claim" and not entry.ok:
        mark, style = "✗ ", "bold red"
    before = f"  {mark}"
    if entry.kind == "see":
        before = f"  {entry.at - zero:+8.1f} s  " if zero else "  · "
    if entry.kind == "say":
        ui.console.print()
        before = "  "
    for index, row in enumerate(wrapped(text, WIDTH - cells(before) - 1)):
        front = before if index == 0 else " " * cells(before)
        ui.console.print(Text.assemble((front, style or "dim"), (row, style if entry.kind != "claim" else "")))
    if entry.kind == "see" and entry.low is not None and entry.high is not None:
        verdict = ("✓", "green") if entry.ok else ("✗", "bold red")
        told = documented(texts, entry, zero)
        ui.console.print(Text.assemble((" " * cells(before), ""), verdict, (f" {told}", "dim")))


def documented(texts: Texts, entry: Entry, zero: float) -> str:
    """Return when the documentation wants something seen, and whether it came later than that."""
    told = texts("frame.documented", low=entry.low, high=entry.high)
    return f"{told} {texts('frame.late')}" if entry.high is not None and entry.at - zero > entry.high else told


def cells(text: str) -> int:
    """Return how many columns a text takes on a terminal: a Korean letter takes two."""
    return Text(text).cell_len


def wrapped(text: str, width: int) -> list[str]:
    """Return a text's lines, none wider than ``width`` columns; Korean letters count as two."""
    rows: list[str] = []
    for paragraph in text.splitlines() or [""]:
        row = ""
        for word in paragraph.split(" "):
            for part in [word] if cells(word) <= width else textwrap.wrap(word, max(1, width // 2)):
                joined = f"{row} {part}" if row else part
                if cells(joined) > width:
                    rows.append(row)
                    joined = part
                row = joined
        rows.append(row)
    return rows


class Stage:
    """One tour that is being taken. Its record, its journal, and the ways to the cluster."""

    def __init__(self, job: Job, journal: Journal, teller: Teller, nodes: Nodes, worker: str) -> None:
        self.job = job
        self.journal = journal
        self.teller = teller
        self.nodes = nodes
        self.worker = worker  # the node that things are done to
        self.api = Cluster(job.kubeconfig)
        self.record = Record(journal.name, job.spec.cluster.name)
        self.namespace = f"kubesmith-tour-{secrets.token_hex(3)}"

    # --- what is told

    def _add(self, entry: Entry) -> Entry:
        self.record.entries.append(entry)
        self.teller.tell(entry)
        return entry

    def say(self, key: str, /, **values: Any) -> None:
        """Explain."""
        self._add(Entry("say", key, time.time(), values))

    def act(self, key: str, do: Callable[[], T], /, *undo: Undo, **values: Any) -> T:
        """Change the cluster: the way back is on the disk before ``do`` is called."""
        if undo:
            self.journal.note(*undo)
        self._add(Entry("act", key, time.time(), values))
        return do()

    def zero(self) -> float:
        """Begin the timeline now, and return when that is."""
        self.record.zero = self.teller.zero = time.time()
        return self.record.zero

    def see(
        self,
        key: str,
        /,
        *,
        at: float | None = None,
        source: str = "",
        between: tuple[float, float] | None = None,
        **values: Any,
    ) -> float:
        """Tell what was seen and return when: ``between`` is when the documentation wants it, in seconds after zero.

        Earlier than that it cannot be on any machine; a busy one may be late by LATE seconds.
        """
        seen = time.time() if at is None else at
        low, high = between or (None, None)
        ok = None if low is None or high is None else low <= seen - self.record.zero <= high + LATE * self.patience
        self._add(Entry("see", key, seen, values, source, low, high, ok))
        return seen

    def claim(self, key: str, ok: object, /, **values: Any) -> bool:
        """Assert something, and tell whether it is so."""
        self._add(Entry("claim", key, time.time(), values, ok=bool(ok)))
        return bool(ok)

    def steps(self, steps: Sequence[Step]) -> None:
        """Keep the bars of a waterfall."""
        self.record.steps += steps

    def open(self, step: str, title: str, name: str, body: object) -> None:
        """Keep something that a step wrote, to be opened in the report."""
        text = body if isinstance(body, str) else json.dumps(body, indent=2, ensure_ascii=False)
        self.record.opened.append(Opened(step, title, name, text))

    # --- waiting

    def until(self, look: Callable[[], T], seconds: float, every: float = EVERY) -> T | None:
        """Look until there is something true, or the time is up; return the last answer.

        An API server that does not answer is looked at again, as one whose answer is nothing.
        """
        deadline = time.monotonic() + seconds * self.patience
        while True:
            answer: T | None = None
            try:
                answer = look()
            except (Unanswered, Denied):
                if time.monotonic() > deadline:
                    raise
            if answer or time.monotonic() > deadline:
                return answer
            time.sleep(every)

    def must(self, what: str, look: Callable[[], T | None], seconds: float, every: float = EVERY) -> T:
        """Look until there is something true, and return it; Failed, with ``what`` in words, if the time is up."""
        answer = self.until(look, seconds, every)
        if not answer:
            raise Failed(self.teller.texts("frame.not_seen", what=self.teller.texts(f"waits.{what}"), seconds=seconds))
        return answer

    @property
    def patience(self) -> float:
        """How many times longer than usual things may take: a machine's processor may be emulated."""
        return float(self.nodes.variables[self.worker].get("kubesmith_patience", 1))

    # --- the cluster

    def space(self) -> None:
        """Make the tour's own namespace."""
        item = {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {
                "name": self.namespace,
                "labels": {LABEL: self.record.tour, "pod-security.kubernetes.io/enforce": "baseline"},
            },
        }
        self.act("namespace", lambda: self.api.create(item), removed(path(item)), name=self.namespace)
        account = f"/api/v1/namespaces/{self.namespace}/serviceaccounts/default"
        self.must("account", lambda: self.api.find(account), 30)

    def create(self, *items: Object) -> None:
        """Create objects in the tour's namespace."""
        for item in items:
            item["metadata"].setdefault("namespace", self.namespace)
            self.api.create(item)

    def pods(self, selector: str = "") -> list[Object]:
        """Return the pods of the tour's namespace."""
        query = f"?labelSelector={selector.replace('=', '%3D')}" if selector else ""
        return self.api.items(f"/api/v1/namespaces/{self.namespace}/pods{query}")

    def ready(self, app: str = "web", count: int = 1) -> list[Object]:
        """Wait for ``count`` ready pods with the label app=APP and return them."""

        def look() -> list[Object]:
            found = [pod for pod in self.pods(f"app={app}") if is_ready(pod) and not leaving(pod)]
            return found if len(found) >= count else []

        return self.must("pods", look, MOST_READY)

    def node(self, name: str) -> Object:
        """Return a Node object."""
        return self.api.get(f"/api/v1/nodes/{name}")

    def image(self) -> str:
        """Return the reference of the test server that every node has."""
        return test_image(self.nodes)

    @contextmanager
    def asking(self, node: str, urls: Mapping[str, str], pause: float = 0.1) -> Iterator[dict[str, Any]]:
        """Have a node ask addresses again and again while the body runs; the answers are in the mapping afterwards."""
        flag = f"{FLAG}-{secrets.token_hex(3)}"
        question = {"urls": dict(urls), "flag": flag, "seconds": 900, "pause": pause}
        going = background.start(self.nodes.ask, node, "serve", question, seconds=960)
        answers: dict[str, Any] = {}
        self.nodes.run(node, f"for i in $(seq 300); do [ -e {flag} ] && exit 0; sleep 0.1; done; exit 1")
        try:
            yield answers
        finally:
            self.nodes.run(node, f"rm -f {flag}", check=False)
            answers |= going.result(timeout=30)


def ways(job: Job, nodes: Nodes) -> Ways:
    """Return how the ways back of a journal are gone on this cluster."""

    def request(asked: Mapping[str, Any]) -> None:
        api = Cluster(job.kubeconfig)
        try:
            if asked["method"] == "DELETE":
                api.delete(asked["path"])
            else:
                api.patch(asked["path"], asked["body"], asked["type"])
        except Denied as error:
            if error.status != 404:  # what is gone needs no way back
                raise

    return Ways(nodes.run, request, Switch(job).on)


def removed(place: str) -> Undo:
    """Return the way back of an object that is made: its removal."""
    return Undo(request={"method": "DELETE", "path": place})


def set_back(place: str, body: Mapping[str, Any], kind: str = "application/merge-patch+json") -> Undo:
    """Return the way back of an object that is changed: what is to stand there again."""
    return Undo(request={"method": "PATCH", "path": place, "body": dict(body), "type": kind})


def is_ready(pod: Object) -> bool:
    """Tell whether a pod is Ready."""
    return any(row["type"] == "Ready" and row["status"] == "True" for row in pod["status"].get("conditions", ()))


def leaving(pod: Object) -> bool:
    """Tell whether a pod's end has been asked for."""
    return "deletionTimestamp" in pod["metadata"]


def condition(item: Object, kind: str) -> dict[str, str]:
    """Return a condition of an object; empty where it has none of that kind."""
    return next((row for row in item.get("status", {}).get("conditions", ()) if row["type"] == kind), {})


def test_image(nodes: Nodes) -> str:
    """Return the reference of the test server's image, from the inventory or the nodes' bundle."""
    variables = next(iter(nodes.variables.values()))
    if named := str(variables.get("kubesmith_verify_image", "")):
        return named
    bundle = nodes.job.bundle / "bundle.json"
    text = (
        bundle.read_text()
        if bundle.exists()
        else nodes.run(nodes.control_planes[0], "cat /var/lib/kubesmith/bundle/bundle.json")
    )
    rows = [image["ref"] for row in json.loads(text)["components"] for image in row.get("images", ())]
    return str(next(ref for ref in rows if "/agnhost:" in ref))
