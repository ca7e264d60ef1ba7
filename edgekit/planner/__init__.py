"""From a costed graph, a device and its budgets to a plan: candidates, rules, choice, explanation."""
