"""MMStar: 1,500 single-choice questions that cannot be answered without the picture, in six core abilities."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from isthmus.errors import BadData
from isthmus.evaluate.benchmarks._asked import have, hubs, shown
from isthmus.evaluate.benchmarks._choices import options
from isthmus.evaluate.benchmarks._choices import read as read_letter
from isthmus.evaluate.benchmarks._rows import SAID, Asked, Judged, accuracies, asked, slug, table, text
from isthmus.evaluate.files import rows
from isthmus.evaluate.questions import LETTER, Question, lettered
from isthmus.evaluate.scored import Figure, Floats, Scored, mean, of_sums

ABOUT = "six core abilities; with answers without the picture and of the text model, multi-modal gain and leakage"
SOURCE = "Chen et al., 2024, arXiv:2403.20330; eval/ of github.com/MMStar-Benchmark/MMStar"
PREDICTIONS = {
    "a sheet of the authors or of VLMEvalKit (XLSX, TSV, CSV), or JSON lines": (
        "index\tquestion\tanswer\tcategory\tl2_category\tprediction\n"
        "0\tWhich...? Options: A: red, B: blue\tA\tcoarse perception\timage emotion\tA"
    ),
    "with columns prediction_wo_v (no picture shown) and prediction_text (the text model alone)": (
        '{"index": 0, "answer": "A", "prediction": "A", "prediction_wo_v": "B", "prediction_text": "B"}'
    ),
    "a folder of up to three such files; *wo_v* and *text* in their names say which": (
        "model.xlsx, model_wo_v.xlsx, model_text.xlsx"
    ),
}
REFERENCES = {"the benchmark's table": "index\tquestion\tanswer\tcategory\tl2_category"}
INSIDE = True
DATA = {
    "*.parquet": "the authors' mmstar.parquet (index, question, image, answer, category, l2_category)",
    "*.tsv": "or MMStar.tsv of VLMEvalKit, with the pictures in base64",
}
GET = "huggingface.co/datasets/Lin-Chen/MMStar (mmstar.parquet)"
HUB = "Lin-Chen/MMStar"
HEADLINE = "accuracy"
WITHOUT, ALONE = "prediction_wo_v", "prediction_text"
NAMES = {WITHOUT: re.compile(r"wo_?v|without|no_?im", re.I), ALONE: re.compile(r"text|llm|blind", re.I)}


def score(predictions: Path, references: Path | None, mode: str) -> Scored:
    """Accuracy over all questions, by ability and sub-ability; gain and leakage where their answers are there."""
    found = Scored()
    some = _asked(predictions, references, found)
    hits = {one.id: right(one.said, one, mode) for one in some}
    lost = "no option can be read"
    found.unscored |= {one.id: lost if one.said else "no prediction" for one in some if hits[one.id] is None}
    found.marks |= {name: float(hit) for name, hit in hits.items() if hit is not None}
    marks = [Judged(bool(hits[one.id]), _parts(one), one.image) for one in some if hits[one.id] is not None]
    found.add(accuracies(marks))
    if unread := sum(mode == "official" and not _letter(one.said) for one in some):
        found.notes.append(f"{unread:,} answers begin with no letter; the official rule counts them wrong")
    gain: dict[str, Figure] = {}
    for part in ("", *dict.fromkeys(slug(one.row["category"]) for one in some if text(one.row.get("category")))):
        own = [one for one in some if not part or part == slug(one.row["category"])]
        gain |= {f"{part}/{name}" if part else name: figure for name, figure in _gain(own, mode).items()}
    found.add(gain)
    return found


def questions(folder: Path) -> Sequence[Question]:
    """The questions, which hold their options, with LLaVA-1.5's ending; options in columns are listed."""
    tables = sorted(folder.glob("*.tsv"))
    held = rows(tables[0]) if tables else hubs(folder, "val")
    found = []
    for place, row in enumerate(held, 1):
        have(row, ("index", "question", "answer", "image"), tables[0] if tables else folder, place)
        name, choices = text(row["index"]), lettered(row)
        keys = ("index", "question", *"ABCD", "answer", "category", "l2_category")
        kept = {key: row[key] for key in keys if text(row.get(key)) not in ("", "nan")}
        media = (shown(row["image"], folder, f"question {name}"),)
        own = _parts(Asked(name, "", "", kept, ""))
        ways = (choices, True) if choices else (("A", "B", "C", "D"), False)
        asked_ = text(row["question"]).strip()
        found.append(Question(name, asked_, media, *ways, LETTER, text(row["answer"]).strip(), own, row=kept))
    return found


def right(said: str, one: Asked, mode: str) -> bool | None:
    """Whether an answer is right; in lenient mode None where no option can be read."""
    if mode == "official":
        return _official(said, one.truth)
    letter = read_letter(said, options(one.row) or _listed(text(one.row.get("question"))))
    return None if letter is None else letter == one.truth.upper()


def _official(said: str, truth: str) -> bool:
    """The official reading: the first character, or the one behind `(`, `option ` or `the answer is `, is the answer.

    >>> [_official(said, "B") for said in ("b", "Black", "(B) dog", "Option B", "The answer is b.", "It is B", "")]
    [True, True, True, True, True, False, False]
    """
    low, true = said.lower().strip().replace("\n", " "), truth.lower().strip().replace("\n", " ")
    starts = ("", "(", "option ", "the answer is ")
    return len(true) == 1 and any(low.startswith(start + true) for start in starts)


def _letter(said: str) -> bool:
    return any(_official(said, letter) for letter in "ABCD")


def _parts(one: Asked) -> tuple[str, ...]:
    ability, own = (text(one.row.get(key)) for key in ("category", "l2_category"))
    return tuple(part for part in (slug(ability), f"{slug(ability)}/{slug(own)}" if own else "") if part)


def _gain(some: list[Asked], mode: str) -> dict[str, Figure]:
    """Multi-modal gain S_v - S_wv and leakage max(0, S_wv - S_t), of shares of right answers (equations 1 and 2)."""
    told = {key: [right(text(one.row.get(key)), one, mode) for one in some] for key in (WITHOUT, ALONE)}
    told["prediction"] = [right(one.said, one, mode) for one in some]
    there = {key for key in (WITHOUT, ALONE) if any(key in one.row for one in some)}
    found = {}
    for key, name in {WITHOUT: "wo_v/accuracy", ALONE: "text/accuracy"}.items():
        if key in there:
            found[name] = mean(hit for hit in told[key] if hit is not None)
    if WITHOUT in there:
        found["multimodal_gain"] = _difference(told["prediction"], told[WITHOUT], -np.inf)
    if there == {WITHOUT, ALONE}:
        found["multimodal_leakage"] = _difference(told[WITHOUT], told[ALONE], 0.0)
    return found


def _difference(more: list[bool | None], less: list[bool | None], least: float) -> Figure:
    """The difference of two shares, at least `least`, over the questions whose answers can both be read."""
    both = [(one, two, 1) for one, two in zip(more, less, strict=True) if None not in (one, two)]

    def statistic(sums: Floats) -> Floats:
        return np.asarray(np.maximum((sums[..., 0] - sums[..., 1]) / sums[..., 2], least))

    return of_sums(statistic, np.array(both, float).reshape(-1, 3))


def _asked(predictions: Path, references: Path | None, found: Scored) -> list[Asked]:
    """The questions; of a folder, with the answers of all its files in one row."""
    if not predictions.is_dir():
        return asked(predictions, references, found)
    files = [file for file in sorted(predictions.iterdir()) if file.is_file() and not file.name.startswith(".")]
    which = {file: next((key for key, name in NAMES.items() if name.search(file.stem)), "") for file in files}
    if sorted(which.values()) not in [sorted(["", *keys]) for keys in ([], [WITHOUT], [ALONE], [WITHOUT, ALONE])]:
        raise BadData(
            f"{predictions}: expected one file of predictions, and at most one *wo_v* and one *text* beside it"
        )
    some = asked(next(file for file, key in which.items() if not key), references, found)
    for file, key in which.items():
        if key:
            some = _joined(some, key, {text(row.get("index", row.get("question_id"))): row for row in table(file)})
    return some


def _joined(some: list[Asked], key: str, rows: Mapping[str, Mapping[str, object]]) -> list[Asked]:
    found = []
    for one in some:
        said = next((rows[one.id][name] for name in SAID if name in rows[one.id]), None) if one.id in rows else None
        found.append(one._replace(row=one.row | {key: said}))
    return found


def _listed(question: str) -> dict[str, str]:
    """The options that stand in a question, behind `Options: A: ..., B: ...`."""
    told = re.split(r"\b([A-D])[:.] ?", question.rpartition("Options:")[2])
    return {
        letter: option.strip(" ,\n") for letter, option in zip(told[1::2], told[2::2], strict=False)
    } or dict.fromkeys("ABCD", "")
