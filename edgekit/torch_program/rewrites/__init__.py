"""Operators that some format lacks, written with operators that all have: one file a kind, `table` names them all."""
