"""Measurements as data: records, and the environment they were made in."""
