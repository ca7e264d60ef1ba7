"""Measurements: figures of an artifact on a device, saved as a file, read from other tools, entered as evidence."""
