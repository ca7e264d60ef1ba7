"""A recipe simulated on the float graph: what integer kernels would compute, before anything is converted."""
