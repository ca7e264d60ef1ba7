"""Exports and validations: inputs, conversion, judgement, report, lock."""
