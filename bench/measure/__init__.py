"""Measurements: cost, speed, comparison, scaling, scans, loader; `timing` is the engine of all times."""
