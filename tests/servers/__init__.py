"""Servers of what the internet serves, on this machine: a registry and a file server, with faults on demand."""
