"""Techniques: what makes a float model smaller, or lets it survive small integers."""
