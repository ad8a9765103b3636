"""When each certificate ends. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kubesmith.verify import certificates


def rows(found: Mapping[str, Mapping[str, str]]) -> list[dict[str, Any]]:
    """Return a row for each certificate of ``found`` ({node: {file: PEM}}), those of a node that end first in front.

    ``kind`` is CA, kubeconfig or certificate; ``ends`` is UTC, ISO 8601; ``days`` is what is left, negative once it has
    ended. A file that holds no certificate has no row.
    """
    return [row for node, files in found.items() for row in sorted(_of(node, files), key=lambda row: str(row["ends"]))]


def _of(node: str, files: Mapping[str, str]) -> list[dict[str, Any]]:
    made = []
    for path, pem in files.items():
        try:
            certificate = certificates.parse(pem)
        except ValueError:
            continue
        kind = "kubeconfig" if path.endswith((".conf", "kubeconfig")) else "certificate"
        made.append(
            {
                "node": node,
                "path": path,
                "kind": "CA" if certificates.is_authority(certificate) else kind,
                "subject": certificates.common_name(certificate),
                "ends": certificate.not_valid_after_utc.isoformat(timespec="seconds"),
                "days": certificates.days_left(certificate),
            }
        )
    return made
