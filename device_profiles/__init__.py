"""Device profiles that come with edgekit: one TOML file a device; its stem is the name that users type."""
