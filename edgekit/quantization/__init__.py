"""Ranges, statistics, bias correction and PT2E: what converters and simulation share."""
