"""Predictions: what a model will cost in a format, before it is converted, each with a band."""
