"""What edgekit knows about each format: one descriptor a format, which every other package asks instead of its name."""
