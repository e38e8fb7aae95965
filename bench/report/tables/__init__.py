"""The tables, one module a question: as data first, and then as markdown, CSV and LaTeX."""
