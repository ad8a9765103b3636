"""bundle of kubesmith."""
