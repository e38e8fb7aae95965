"""Tables of the errors of trained weights."""
