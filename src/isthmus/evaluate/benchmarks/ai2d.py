"""AI2D: single-choice questions about diagrams from science books of primary schools."""

from __future__ import annotations

from pathlib import Path

from isthmus.evaluate.benchmarks._rows import Judged, accuracies, asked
from isthmus.evaluate.benchmarks.mmbench import judged, parts
from isthmus.evaluate.scored import Scored

ABOUT = "diagrams: single-choice questions"
SOURCE = "Kembhavi et al., 2016, arXiv:1603.07396; the rule without a judge of github.com/open-compass/VLMEvalKit"
PREDICTIONS = {
    "a sheet of VLMEvalKit (XLSX, TSV, CSV)": (
        "index\tquestion\tA\tB\tC\tD\tanswer\tcategory\tprediction\n"
        "0\tWhat is C?\tleaf\troot\tstem\tseed\tB\tfoodWeb\tB"
    ),
    "rows with the truth": '{"question_id": 3, "text": "B", "answer": "B"}',
}
REFERENCES = {"the benchmark's TSV with answers": "index\tquestion\tA\tB\tC\tD\tanswer\tcategory"}
INSIDE = True


def score(predictions: Path, references: Path | None, mode: str) -> Scored:
    """Accuracy, over all questions and by category."""
    found = Scored()
    some = asked(predictions, references, found)
    hits = judged(some, mode, found)
    found.add(accuracies([Judged(hits[one.id], parts(one), one.image) for one in some if one.id in hits]))
    return found
