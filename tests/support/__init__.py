"""What several tests share: cases, oracles in plain Python, strategies and small runs."""
