"""chrF and chrF++ of a corpus, as sacreBLEU counts them."""

from __future__ import annotations

from pathlib import Path

from isthmus.evaluate.benchmarks.bleu import corpus
from isthmus.evaluate.scored import Scored

ABOUT = "chrF and chrF++ of translations, between 0 and 100"
SOURCE = (
    "Popović, WMT 2015 and 2017; sacreBLEU, Post, 2018, arXiv:1804.08771, its defaults (6 characters, 0 or 2 words)"
)
PREDICTIONS = {
    "a text, line by line": "The cat is on the mat.",
    "{id: text}, or rows": '{"id": "1", "prediction": "The cat is on the mat."}',
    "with the truth inside": '{"prediction": "The cat is on the mat.", "references": ["The cat sits on the mat."]}',
}
REFERENCES = {
    "the same forms; rows may hold several": '{"id": "1", "references": ["The cat sits on the mat.", "A cat is."]}'
}
INSIDE = True  # rows of predictions may hold the truth


def score(predictions: Path, references: Path | None, mode: str) -> Scored:
    """chrF and chrF++; both modes are the same."""
    return corpus(predictions, references, ("chrf", "chrf++"))
