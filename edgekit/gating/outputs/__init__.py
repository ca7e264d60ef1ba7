"""What the gate writes for CI systems: JUnit, SARIF, GitHub's annotations and summary, Markdown."""
