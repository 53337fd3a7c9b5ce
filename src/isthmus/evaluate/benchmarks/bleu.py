"""BLEU of a corpus, as sacreBLEU counts it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from isthmus.evaluate.benchmarks._pairs import pairs
from isthmus.evaluate.metrics.translation import Translated, translated
from isthmus.evaluate.scored import Figure, Scored, of_sums

ABOUT = "BLEU of translations, between 0 and 100"
SOURCE = "Papineni et al., ACL 2002; sacreBLEU, Post, 2018, arXiv:1804.08771, its defaults (13a, mixed case, exp)"
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
    """BLEU, its precisions (between 0 and 100) and its brevity penalty; both modes are the same."""
    return corpus(predictions, references, ("bleu",))


def corpus(predictions: Path, references: Path | None, metrics: tuple[str, ...]) -> Scored:
    """Figures of sacreBLEU, sentences drawn anew for their intervals, and their signatures in the notes."""
    found = Scored()
    some = pairs(predictions, references, found)
    for name in metrics:
        own = translated([one.said for one in some], [one.references for one in some], name)
        found.metrics[name] = _drawn(own)._replace(value=own.score)
        found.notes.append(f"signature of {name}: {own.signature}")
        if name == "bleu":
            found.add(_parts(own))
    return found


def _drawn(own: Translated) -> Figure:
    return of_sums(lambda sums: np.apply_along_axis(own.of, -1, sums), own.sums)


def _parts(own: Translated) -> dict[str, Figure]:
    """BLEU's precisions for n = 1 to 4 and its penalty for texts that are too short."""
    said, truth = own.sums[:, 0], own.sums[:, 1]
    figures = {}
    for n in range(1, 5):
        counts = own.sums[:, [1 + n, 5 + n]]
        drawn = of_sums(lambda sums: 100 * sums[..., 0] / np.maximum(sums[..., 1], 1), counts)
        figures[f"precision_{n}"] = drawn._replace(value=own.precisions[n - 1])
    short = of_sums(
        lambda s: np.exp(np.minimum(0, 1 - s[..., 1] / np.maximum(s[..., 0], 1e-9))), np.stack([said, truth], 1)
    )
    return figures | {"brevity_penalty": short._replace(value=own.brevity_penalty)}
