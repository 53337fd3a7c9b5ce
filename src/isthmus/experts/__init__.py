"""Experts turn a medium into text, with no training: one file each, found by its name."""
