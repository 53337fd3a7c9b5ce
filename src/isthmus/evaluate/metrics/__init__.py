"""Metrics of texts and answers: pure functions, one file for each family."""
