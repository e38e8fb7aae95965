"""The ledger of published figures: its table, and what is known about each of them."""
