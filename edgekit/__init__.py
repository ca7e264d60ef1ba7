"""edgekit: one model in, artifacts for four on-device runtimes out, one verdict against a device's budgets."""

__version__ = "0.1.0"
