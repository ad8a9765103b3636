"""The interface by which long work tells what it is doing; kubesmith/ui.py shows it."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Receives the steps of one phase. An item is short and stable, such as ``kubernetes`` or ``w1``."""

    def total(self, items: int) -> None:
        """Tell how many items this phase will finish."""

    def start(self, item: str, text: str) -> None:
        """Tell that work on ``item`` begins; ``text`` says what is being done to it."""

    def update(self, item: str, text: str) -> None:
        """Tell what is being done to ``item`` now."""

    def done(self, item: str, text: str, *, changed: bool) -> None:
        """Tell that ``item`` is finished, and whether anything had to be done."""


class Silent:
    """A Progress that shows nothing; for tests and machine-readable runs."""

    def total(self, items: int) -> None:
        """Ignore."""

    def start(self, item: str, text: str) -> None:
        """Ignore."""

    def update(self, item: str, text: str) -> None:
        """Ignore."""

    def done(self, item: str, text: str, *, changed: bool) -> None:
        """Ignore."""
