"""A lifted recording to look at: a page, a film, a contact sheet and a figure."""
