"""Prediction with a tuned model."""
