"""commands of kubesmith."""
