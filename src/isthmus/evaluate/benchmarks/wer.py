"""Word error rate of speech recognition, pooled over a corpus."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from isthmus.evaluate.benchmarks._pairs import Pair, pairs
from isthmus.evaluate.metrics.word_errors import Errors, errors, whisper_normaliser
from isthmus.evaluate.scored import Figure, Scored, of_sums, over, proportion

ABOUT = "word error rate: words wrong, missing or too many, over the words of the reference"
SOURCE = (
    "(S + D + I) / N as NIST's sclite and jiwer count; official: texts as they are, lenient: both as Whisper's English"
    " normaliser leaves them (Radford et al., 2022, arXiv:2212.04356)"
)
PREDICTIONS = {
    "a text, line by line": "he began a confused complaint",
    "a text with ids, as Kaldi and LibriSpeech": "1272-128104-0000 mister quilter is the apostle",
    "sclite's .trn": "mister quilter is the apostle (1272-128104-0000)",
    "{id: text}, or rows": '{"id": "1272-128104-0000", "prediction": "mister quilter is the apostle"}',
    "with the truth inside": '{"prediction": "mister quilter", "reference": "mister quilter"}',
}
REFERENCES = {
    "the same forms, or LibriSpeech's folder of *.trans.txt": "1272-128104-0000 MISTER QUILTER IS THE APOSTLE",
}
INSIDE = True  # rows of predictions may hold the truth


def score(predictions: Path, references: Path | None, mode: str) -> Scored:
    """WER with its three parts, and the share of utterances with an error."""
    return rates(predictions, references, mode, "wer", characters=False)


def rates(predictions: Path, references: Path | None, mode: str, name: str, characters: bool) -> Scored:
    """The figures of words, or of characters, drawn anew by utterance for their intervals."""
    found = Scored()
    some = pairs(predictions, references, found)
    counts = [_least(one, mode, characters) for one in some]
    found.marks = {one.id: _accuracy(own) for one, own in zip(some, counts, strict=True)}
    if empty := sum(not one.units for one in counts):
        found.notes.append(f"{empty:,} references are empty; what was said there counts as inserted")
    found.notes.append(
        "normalisation: " + ("none" if mode == "official" else "Whisper's English normaliser, both sides")
    )
    found.add(_figures(counts, name, "sentence_error_rate"))
    return found


def _figures(counts: Sequence[Errors], name: str, sentences: str) -> dict[str, Figure]:
    sums_KS = np.array(counts, float).reshape(-1, 4)
    kinds = {"substitution_rate": [0], "deletion_rate": [1], "insertion_rate": [2]}
    figures = {
        key: of_sums(lambda sums, which=which: over(sums[..., which].sum(-1), sums[..., 3]), sums_KS)  # type: ignore[misc]
        for key, which in ({name: [0, 1, 2]} | kinds).items()
    }
    return figures | {sentences: proportion(bool(one.substitutions + one.deletions + one.insertions) for one in counts)}


def _accuracy(own: Errors) -> float:
    """The share of units that are right, 0 where more are wrong than the reference has."""
    return max(0.0, 1 - (own.substitutions + own.deletions + own.insertions) / max(own.units, 1))


def _least(pair: Pair, mode: str, characters: bool) -> Errors:
    """The errors against the reference that is nearest, of several."""
    change = whisper_normaliser() if mode == "lenient" else str
    some = [errors(change(truth), change(pair.said), characters) for truth in pair.references]
    return min(some, key=lambda one: (one.substitutions + one.deletions + one.insertions) / max(one.units, 1))
