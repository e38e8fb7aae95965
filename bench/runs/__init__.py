"""Training runs: their folders, sweeps of them, their evaluation."""
