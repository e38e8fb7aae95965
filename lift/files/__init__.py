"""The files that a lifted recording is written to."""
