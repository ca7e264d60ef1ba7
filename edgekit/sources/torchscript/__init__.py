"""TorchScript models as plain modules of torch: the archive, the modules, and the graphs that they run."""
