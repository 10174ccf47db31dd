"""Answer text both ways: profile, prompts, formats, writing and reading."""
