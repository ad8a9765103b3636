"""The CIS Kubernetes Benchmark on a running cluster: the controls are data, the evaluators small functions."""
