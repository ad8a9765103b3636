"""kubesmith's command line: python3 runner.py [VERB] [--inventory NAME|PATH]. See --help."""

import sys

if sys.version_info < (3, 9):  # noqa: UP036 - said by the Python that is too old
    sys.exit(f"kubesmith needs Python 3.11 to 3.13 and cannot start in {sys.version.split()[0]}: use a newer python3")

from kubesmith import bootstrap

if __name__ == "__main__":
    bootstrap.enter(__file__)
    from kubesmith.cli import main

    sys.exit(main())
