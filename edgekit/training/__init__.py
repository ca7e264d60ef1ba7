"""Training inside a worker: the user's batches and loss, a loop that can be interrupted, graphs that can be trained."""
