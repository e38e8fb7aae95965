"""Poses in space: the size of a body, refined and smoothed motion, the vertical and the floor."""
