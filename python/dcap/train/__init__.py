"""Supervised fine-tuning on Accelerate; start it with ``accelerate launch -m dcap.train CONFIG``."""
