"""What to export and how to judge it: task files, references to user code, data, preprocessing."""
