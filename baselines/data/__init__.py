"""The data sets: one interface over three file formats, memory-mapped."""
