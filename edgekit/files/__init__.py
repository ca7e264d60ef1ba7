"""Files of people and of edgekit: read with a bound, and their faults reported all at once."""
