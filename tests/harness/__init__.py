"""What `make test` runs, and how it tells what came of it."""
