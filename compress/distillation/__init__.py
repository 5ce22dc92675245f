"""Distillation: a student learns from a teacher's outputs, features, attention and relations. Names are exported by `compress`."""
