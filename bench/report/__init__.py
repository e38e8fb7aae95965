"""Tables, plots and the report, rendered from records."""
