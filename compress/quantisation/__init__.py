"""Quantisation: fewer bits for weights and maps, before or during training, and INT8 execution."""
