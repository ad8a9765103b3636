"""kubesmith: kubeadm clusters on machines that you own, with proof on every node."""

from kubesmith import paths as paths  # first of all: makes the collection importable under its own name

__version__ = "0.1.0"
