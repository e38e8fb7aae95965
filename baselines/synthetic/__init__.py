"""Make data: synthetic people, motion capture replayed in front of cameras, and a model of a detector."""
