"""Cost models learned from tables: straight from an architecture's choices, nothing built or run here."""
