"""providers of kubesmith."""
