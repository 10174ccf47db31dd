"""Scores of predictions; needs no model and no torch."""
