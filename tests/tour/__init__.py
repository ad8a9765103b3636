"""Tours, exercises and `inspect` on a lab of their own."""
