"""Every word of a tour, in the learner's language, out of ``messages/LANGUAGE.yml``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from kubesmith.errors import InputError

LANGUAGES = ("en", "ko")
VARIABLE = "KUBESMITH_LANGUAGE"
MESSAGES = Path(__file__).parent / "messages"


@cache
def catalog(language: str) -> Mapping[str, str]:
    """Return the texts of a language by key, keys of nested mappings joined by dots."""
    return dict(_flat(yaml.safe_load((MESSAGES / f"{language}.yml").read_text(encoding="utf-8"))))


def _flat(tree: Mapping[str, Any], before: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for key, value in tree.items():
        name = f"{before}{key}"
        rows += _flat(value, f"{name}.") if isinstance(value, Mapping) else [(name, str(value).strip())]
    return rows


def language(chosen: str | None) -> str:
    """Return the language to speak: ``chosen``, else KUBESMITH_LANGUAGE, else Korean for a Korean locale, else English.

    Raises InputError where the variable names none that there is.
    """
    wanted = chosen or os.environ.get(VARIABLE, "")
    if wanted and wanted not in LANGUAGES:
        raise InputError(
            f"{VARIABLE} is {wanted[:40]!r}, which is no language of the tours", fix=f"{' or '.join(LANGUAGES)}"
        )
    locale = next(filter(None, (os.environ.get(name) for name in ("LC_ALL", "LC_MESSAGES", "LANG"))), "")
    return wanted or ("ko" if locale.startswith("ko") else "en")


class Texts:
    """The texts of one language."""

    def __init__(self, language: str) -> None:
        self.language = language
        self._texts = catalog(language)

    def __call__(self, key: str, /, **values: Any) -> str:
        """Return the text of ``key`` with ``values`` in its places; KeyError for a key that no file has."""
        return self._texts[key].format(**values)

    def has(self, key: str) -> bool:
        """Tell whether there is a text of that key."""
        return key in self._texts

    def error(self, key: str, /, **values: Any) -> InputError:
        """Return the InputError whose sentence is ``errors.KEY`` and whose remedy is ``fixes.KEY``."""
        return InputError(self(f"errors.{key}", **values), fix=self(f"fixes.{key}", **values))
