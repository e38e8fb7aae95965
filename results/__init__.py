"""Published numbers and reference results."""
