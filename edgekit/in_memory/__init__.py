"""What a Python program gives in memory (models, data, functions), written to files that the pipeline reads."""
