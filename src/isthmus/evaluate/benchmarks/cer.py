"""Character error rate of speech or text recognition, pooled over a corpus."""

from __future__ import annotations

from pathlib import Path

from isthmus.evaluate.benchmarks import wer
from isthmus.evaluate.scored import Scored

ABOUT = "character error rate: characters wrong, missing or too many, over those of the reference"
SOURCE = "(S + D + I) / N over characters, one space between words among them, as jiwer counts; modes as in wer"
PREDICTIONS = {
    "the forms of wer": "1272-128104-0000 mister quilter is the apostle",
    "with the truth inside": '{"prediction": "mister quilter", "reference": "mister quilter"}',
}
REFERENCES = {
    "the same forms, or LibriSpeech's folder of *.trans.txt": "1272-128104-0000 MISTER QUILTER IS THE APOSTLE"
}
INSIDE = True  # rows of predictions may hold the truth


def score(predictions: Path, references: Path | None, mode: str) -> Scored:
    """CER with its three parts, and the share of utterances with an error."""
    return wer.rates(predictions, references, mode, "cer", characters=True)
