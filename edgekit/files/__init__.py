"""Files of people and of edgekit: read with a bound, and their faults told all at once."""
