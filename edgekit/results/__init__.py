"""What the Python API returns: the objects behind the JSON of the command line, at home in a notebook too."""
