"""Calibration: streaming statistics of activations, and the ranges that are chosen from them."""
