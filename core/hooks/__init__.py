"""The plugin machine: finds plugins, loads them, calls their hooks and keeps their settings."""
