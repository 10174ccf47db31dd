"""Records, answer text, encoding, packing and collating."""
