"""Pruning: which channels go together, which matter least, and a smaller network without them."""
