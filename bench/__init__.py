"""Measurements and the command line."""
