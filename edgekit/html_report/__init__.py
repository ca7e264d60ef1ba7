"""One self-contained HTML file about an export: what `edgekit report` writes."""
