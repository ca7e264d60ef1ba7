"""What a person sees in a terminal: where text goes, and a line for each running stage."""
