"""Device profiles: one TOML file a device, whose stem is the name that users type."""
