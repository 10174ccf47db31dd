"""Readers of annotation files; each gives `Record` objects by index."""
