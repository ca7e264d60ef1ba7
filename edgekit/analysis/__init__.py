"""Analysis: a captured model as a costed graph: operators, liveness of activations, architecture family."""
