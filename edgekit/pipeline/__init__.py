"""Cached stages, each run in a worker process: capture, analysis, samples, techniques, conversion."""
