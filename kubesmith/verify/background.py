"""Work in the background that cannot keep the process from ending: a hung SSH connection must not hang the verdict."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def start(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
    """Run ``function`` in a daemon thread and return its Future."""
    future: Future[T] = Future()

    def body() -> None:
        try:
            future.set_result(function(*args, **kwargs))
        except BaseException as error:  # whoever asks the Future for its result gets it
            future.set_exception(error)

    threading.Thread(target=body, daemon=True).start()
    return future
