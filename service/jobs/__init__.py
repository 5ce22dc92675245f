"""Searches as jobs: a store of what is wanted, and a supervisor that carries it out."""
