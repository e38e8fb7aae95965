"""Data that the suite makes itself: synthetic people, motion capture replayed before cameras, a detector model."""
