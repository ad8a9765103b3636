"""Many simulated hosts beside a real control plane: what is real and what is not is said in docs/performance.md."""
