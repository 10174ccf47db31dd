"""Is it good? Validation, audit, inspection, preview and replay of data sets."""
