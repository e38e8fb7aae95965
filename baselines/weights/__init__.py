"""Weights files: read, checked, converted, fetched."""
