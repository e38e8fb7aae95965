"""Measurements: cost, speed, comparison, scaling, scan."""
