"""Debugging: an artifact compared with its float model inside, tensor by tensor."""
