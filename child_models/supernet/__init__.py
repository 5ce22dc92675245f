"""Weights that all networks of a space share, trained once; a network's accuracy with them foretells its own.

Importing the package loads nothing heavy.
"""
