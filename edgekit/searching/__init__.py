"""Search over variants of a model: a grid of the user's own parameters, trained, exported, measured, compared."""
