"""The plots, one module a question. No global state of matplotlib is touched."""
