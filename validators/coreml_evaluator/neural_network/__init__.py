"""Neural networks of Core ML before ML Programs (`.mlmodel`), read as the function that an ML Program would hold."""
