"""Backups of a cluster: taken, kept in several places, opened and checked."""
