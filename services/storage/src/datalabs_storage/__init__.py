"""Volumes, files, collections on disk."""
