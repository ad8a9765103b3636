"""The one family of errors that the command line turns into a sentence and an exit code."""

from __future__ import annotations


class KubesmithError(Exception):
    """An expected failure: what is wrong, the value seen, the rule, and what to do. Exit code 1."""

    exit_code = 1

    def __init__(self, message: str, *, fix: str = "") -> None:
        super().__init__(message)
        self.fix = fix


class InputError(KubesmithError):
    """The request cannot be carried out as given; nothing was touched. Exit code 2."""

    exit_code = 2
