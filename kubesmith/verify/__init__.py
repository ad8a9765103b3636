"""verify of kubesmith."""
