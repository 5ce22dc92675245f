"""Command line and wiring: what a user calls."""
