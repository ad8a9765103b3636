"""kubesmith: kubeadm clusters on machines that you own, with proof on every node."""

__version__ = "0.1.0"
