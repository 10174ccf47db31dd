"""Errors, registry, configuration, randomness and logging: what every other layer may use."""
