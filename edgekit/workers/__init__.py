"""Worker processes, the cache, atomic files, what is installed."""
