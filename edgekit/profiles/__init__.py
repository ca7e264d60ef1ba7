"""Device profiles: what a device offers and what an artifact may cost there."""
