"""Linear layers of language models whose weights are small integers."""
