"""Parts of docs/performance.md that a benchmark writes, between marks; the words around them are written by hand."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kubesmith import __version__, paths

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGE = DOCS / "performance.md"
DATA = DOCS / "performance"


def put(name: str, text: str) -> None:
    """Replace the part ``name`` of the page by ``text``."""
    page = PAGE.read_text()
    begin, end = f"<!-- {name}: made by the command -->", f"<!-- {name}: end -->"
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    if not pattern.search(page):
        raise SystemExit(f"{PAGE} has no part {name}")
    PAGE.write_text(pattern.sub(lambda _found: f"{begin}\n{text.strip()}\n{end}", page))


def keep(name: str, data: Any) -> None:
    """Write the single figures of a benchmark beside the page."""
    DATA.mkdir(exist_ok=True)
    (DATA / name).write_text(data if isinstance(data, str) else json.dumps(data, indent=1) + "\n")


def machine() -> Mapping[str, str]:
    """Return what was measured on and with: the machine, its kernel, the versions."""
    model = re.search(r"^model name\s*:\s*(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    memory = re.search(r"^MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text(), re.MULTILINE)
    bundle = json.loads((paths.bundle() / "bundle.json").read_text())
    ansible = subprocess.run(["ansible", "--version"], capture_output=True, text=True, check=True).stdout
    return {
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "processor": f"{os.cpu_count()} x {model.group(1) if model else platform.processor()}",
        "memory": f"{int(memory.group(1)) // 1024 // 1024 if memory else 0} GiB",
        "kernel": platform.release(),
        "versions": f"kubesmith {__version__}, {ansible.splitlines()[0].strip()}, Python {platform.python_version()}, "
        f"Kubernetes {bundle['kubernetes']}",
    }


def machine_line() -> str:
    """Return the same as one line of Markdown."""
    row = machine()
    return f"{row['date']}: {row['processor']}, {row['memory']}, Linux {row['kernel']}; {row['versions']}."
