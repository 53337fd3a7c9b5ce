"""AI2D: single-choice questions about diagrams from science books of primary schools."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from isthmus.evaluate.benchmarks._asked import have, hubs
from isthmus.evaluate.benchmarks._rows import Judged, accuracies, asked, text
from isthmus.evaluate.benchmarks.mmbench import in_table, judged, parts
from isthmus.evaluate.files import Row, rows
from isthmus.evaluate.questions import LETTER, LETTERS, Question
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
DATA = {
    "*.tsv": "AI2D_TEST.tsv of VLMEvalKit, with the pictures in base64",
    "data/*.parquet": "or rows with question, options, answer (the number of an option) and image",
}
GET = "huggingface.co/datasets/lmms-lab/ai2d, or VLMEvalKit's AI2D_TEST.tsv"
HUB = "lmms-lab/ai2d"
HEADLINE = "accuracy"


def score(predictions: Path, references: Path | None, mode: str) -> Scored:
    """Accuracy, over all questions and by category."""
    found = Scored()
    some = asked(predictions, references, found)
    hits = judged(some, mode, found)
    found.add(accuracies([Judged(hits[one.id], parts(one), one.image) for one in some if one.id in hits]))
    return found


def questions(folder: Path) -> Sequence[Question]:
    """The questions of the test set, as LLaVA-1.5 asks for a letter."""
    tables = sorted(folder.glob("*.tsv"))
    held = rows(tables[0]) if tables else [_row(row, folder, i) for i, row in enumerate(hubs(folder, "test"), 1)]
    return in_table(held, folder, LETTER)


def _row(row: Row, folder: Path, number: int) -> Row:
    """A row of the hub's as one of a table."""
    have(row, ("question", "answer", "image"), folder, number, ("options",))
    told = {letter: text(option) for letter, option in zip(LETTERS, row["options"], strict=False)}
    truth = text(row["answer"])
    return told | {
        "index": number, "question": row["question"], "image": row["image"],
        "answer": LETTERS[int(truth)] if truth.isdecimal() else truth,
    }  # fmt: skip
