"""LLMs: every decoder-only model that transformers loads; one that needs a word of its own gets a file here."""
