"""Budgets as pytest tests: each check becomes a test of its own. Run it where edgekit is installed."""


def test_the_export_fits_a_raspberry_pi(edgekit_budget):
    edgekit_budget("pi4", "edgekit-out").check()


def test_it_is_no_larger_than_before(edgekit_budget):
    edgekit_budget("pi4", "edgekit-out", baseline="edgekit-baseline.json", max_regression="size +5 %").check()
