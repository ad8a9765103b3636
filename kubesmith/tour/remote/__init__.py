"""What runs on nodes: standard library and Python 3.9 only."""
