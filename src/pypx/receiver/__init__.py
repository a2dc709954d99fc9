"""The service class provider for storage: what peers send goes into the archive."""
