"""Accuracy metrics, drops with their confidence intervals, slices."""
