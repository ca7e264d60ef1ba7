"""Sweeps: models x devices x formats x precisions, as a graph of jobs whose shared parts are done once."""
