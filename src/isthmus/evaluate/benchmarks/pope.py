"""POPE: is an object in the picture? Three splits of questions, by how the absent objects were drawn."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from isthmus.errors import BadData
from isthmus.evaluate import keys
from isthmus.evaluate.benchmarks._choices import yes_or_no
from isthmus.evaluate.benchmarks._rows import table, text
from isthmus.evaluate.files import Row, flat, folder, held, of_kit, rows
from isthmus.evaluate.questions import SHORT, Question, picture
from isthmus.evaluate.scored import Figure, Floats, Scored, of_sums, over, proportion, yes_no

ABOUT = "object hallucination: is there such a thing in the picture? yes or no"
SOURCE = "Li et al., 2023, arXiv:2305.10355; github.com/RUCAIBox/POPE"
PREDICTIONS = {
    "JSON lines in the order of the references": '{"question_id": 1, "text": "Yes, there is a snowboard."}',
    "as the authors write them": '{"question": "Is there a snowboard in the image?", "answer": "Yes"}',
    "with the truth inside": '{"question_id": 1, "answer": "Yes", "label": "yes"}',
    "a sheet of VLMEvalKit (XLSX, TSV, CSV)": "index\tquestion\tanswer\tcategory\tprediction",
}
REFERENCES = {
    "coco_pope_random.json, or the folder of all three": (
        '{"question_id": 1, "image": "COCO_val2014_000000310196.jpg", "text": "Is there a snowboard?", "label": "yes"}'
    ),
}
INSIDE = True  # rows of predictions may hold the truth
DATA = {
    "coco_pope_*.json": "coco_pope_random.json, coco_pope_popular.json, coco_pope_adversarial.json, or some",
    "val2014": "the folder of COCO's pictures",
    "data/*.parquet": "or, in place of both, rows with pictures (question_id, question, answer, category, image)",
}
GET = "github.com/RUCAIBox/POPE (output/coco) and val2014.zip of cocodataset.org"
HUB = "lmms-lab/POPE"
HEADLINE = "accuracy"
SAID = keys.said(
    *("prediction", "pred", "response", "model_answer", "model_output", "model_prediction", "output"),
    *("filtered_resps", "resps", "text", "answer", "pred_answer"),
)
TRUTHS = keys.truths("label", "labels", "gt", "gt_answer", "gt_ans", "ground_truth", "truth", "target", "answer")
SPLITS = ("adversarial", "popular", "random")
YES, NO = ("yes", "1", "true"), ("no", "0", "false")
IMAGES = ("image", "image_path", "image_source", "image_id")


class Read(NamedTuple):
    """One question: its truth, what was said (True is yes), the picture that several share, and whether it is right.

    An answer that is neither is no, and by VLMEvalKit's rule not right where the truth is no.
    """

    truth: bool
    said: bool
    image: str
    right: bool


def score(predictions: Path, references: Path | None, mode: str) -> Scored:
    """Each split's figures; of several splits, those over all questions as well."""
    found = Scored()
    parts = _parts(predictions, references, found)
    every: list[Read] = []
    splits: list[list[Read]] = []
    for name, pairs in parts.items():
        own = _read(name, pairs, mode, found)
        splits.append(own)
        found.add(_figures(own), name if len(parts) > 1 else "")
        every += own
    if len(parts) > 1:
        found.metrics = _figures(every) | found.metrics | {"mean_f1": _mean_f1(splits)}
    return found


def questions(folder: Path) -> Sequence[Question]:
    """The questions of every split that is there, one after another."""
    held: list[tuple[str, Row]] = []
    for split in SPLITS:
        for file in sorted(folder.glob(f"coco_pope_*{split}*.json*"))[:1]:
            held += [(split, row) for row in _true(table(file, "label"), file)]
    if not held:
        files = sorted(folder.glob("**/*.parquet"))
        held = [(str(row["category"]), row) for file in files for row in _true(rows(file), file)]
    found = []
    for place, (split, row) in enumerate(held, 1):
        image = row["image"]
        source = picture(image if not isinstance(image, str) else f"val2014/{image}", folder, f"question {place}")
        asked, truth = text(row.get("question") or row.get("text")), text(row["_truth"]).strip().lower()
        name = text(row.get("image_source") or image) if isinstance(image, str) or row.get("image_source") else ""
        kept = {"question_id": place, "image": name or str(place), "text": asked, "label": truth, "category": split}
        found.append(
            Question(
                *(f"{split}/{place}", asked, (source,), ("yes", "no"), False, SHORT, truth, (split,)),
                image=name or str(place), row=kept,
            )
        )  # fmt: skip
    return found


def _figures(some: Sequence[Read]) -> dict[str, Figure]:
    images = [one.image for one in some]
    found = yes_no([one.truth for one in some], [one.said for one in some], images)
    return found | {"accuracy": proportion((one.right for one in some), images)}


def _mean_f1(splits: Sequence[Sequence[Read]]) -> Figure:
    """The mean of the splits' F1, the one number that tables of many benchmarks have for POPE."""
    rows, images = [], []
    for place, split in enumerate(splits):
        for one in split:
            row = np.zeros((len(splits), 2))
            row[place] = 2 * (one.truth and one.said), one.truth + one.said  # F1 = 2 TP / (positives + said positive)
            rows.append(row.ravel())
            images.append(one.image)

    def statistic(sums: Floats) -> Floats:
        each = sums.reshape(*sums.shape[:-1], len(splits), 2)
        return np.asarray(over(each[..., 0], each[..., 1]).mean(-1))

    return of_sums(statistic, np.array(rows), images)


def said_yes(text: str) -> bool:
    """The official reading: yes, unless one of the words No, not, no stands before the first full stop.

    >>> said_yes("Yes, it is. No doubt."), said_yes("There is not, I think"), said_yes("None")
    (True, False, True)
    """
    return not {"No", "not", "no"} & set(text.split(".")[0].replace(",", "").split(" "))


def read(text: str) -> bool | None:
    """A person's reading: the first word that is yes or no, whatever its case; None where there is neither.

    >>> read("NO!"), read("**Yes**, a dog"), read("I cannot tell")
    (False, True, None)
    """
    found = re.search(r"\b(yes|no)\b", text.lower())
    return found[1] == "yes" if found else None


def _read(split: str, pairs: Sequence[tuple[str, Row, Row]], mode: str, found: Scored) -> list[Read]:
    """A split's questions, as far as their answers can be read."""
    some, neither, wrong = [], 0, 0
    for name, truth, row in pairs:
        if row["_said"] is None:
            found.unscored[f"{split}/{name}"] = "no prediction"
            continue
        told = text(row["_said"])
        if kit := mode == "official" and bool(row.get("_kit")):
            said = yes_or_no(told)
            wrong += said is None
        else:
            said = said_yes(told) if mode == "official" else read(told)
        if said is None and not kit:
            found.unscored[f"{split}/{name}"] = "neither yes nor no is said"
            continue
        neither += bool(said) and not kit and read(told) is None
        true = text(truth["_truth"]).strip().lower() in YES
        image = next((str(truth[key]) for key in IMAGES if truth.get(key)), name)
        found.marks[f"{split}/{name}"] = float(said == true)
        some.append(Read(true, bool(said), image, said == true))
    if wrong:
        found.notes.append(f"by VLMEvalKit's rule {wrong:,} answers hold yes and no, or neither, and are wrong")
    if neither:
        where = f"of the split {split}, " if split else ""
        found.notes.append(f"{where}{neither:,} answers say neither yes nor no; the official rule takes them as yes")
    return some


def _parts(predictions: Path, references: Path | None, notes: Scored) -> dict[str, list[tuple[str, Row, Row]]]:
    """For each split its questions: an id, the row with the truth, the row with the answer."""
    answers = _answers(predictions)
    if references is None:
        return _by_category([(_id(row, i), row, row) for i, row in enumerate(_true(answers, predictions))])
    labels = {name: rows_ for name, rows_ in _labels(references).items() if rows_}
    own = _divided(answers, labels, references)
    found = {}
    for name, truths in labels.items():
        if len(own[name]) != len(truths):
            raise BadData(
                f"{predictions} has {len(own[name]):,} answers{f' of the split {name}' if name else ''}, and"
                f" {references} {len(truths):,} questions; they are matched by their order, so there must be as many"
            )
        ids = [_id(truth, i) for i, truth in enumerate(truths)]
        found[name] = list(zip(ids, truths, _in_order(own[name], truths, notes), strict=True))
    return found if len(found) > 1 else _by_category(next(iter(found.values())))


def _in_order(answers: list[Row], truths: Sequence[Row], found: Scored) -> list[Row]:
    """The answers, which are matched by their order; where their ids are the questions' in another order, by these."""
    given, wanted = ([text(row.get("question_id", "")) for row in some] for some in (answers, truths))
    if "" in given or given == wanted or len(set(given)) < len(given) or set(given) != set(wanted):
        return answers
    found.notes.append("the answers are in another order than the questions, and are matched by their question_id")
    by_id = dict(zip(given, answers, strict=True))
    return [by_id[name] for name in wanted]


def _by_category(some: list[tuple[str, Row, Row]]) -> dict[str, list[tuple[str, Row, Row]]]:
    """The splits that the rows with the truth name, one or several by commas; all together if not every row does."""
    told = [[name.strip() for name in str(truth.get("category", "")).lower().split(",")] for _, truth, _ in some]
    if not all(name in SPLITS for names in told for name in names):
        return {"": some}
    found = {split: [one for one, names in zip(some, told, strict=True) if split in names] for split in SPLITS}
    return {split: own for split, own in found.items() if own}


def _id(row: Row, place: int) -> str:
    return text(next((row[key] for key in ("question_id", "index", "id") if key in row), place))


def _answers(path: Path) -> list[Row]:
    """The rows of the predictions, each with what was said under `_said`; `text` may be the question itself."""
    found = folder(path, lambda file: [flat(row) for row in table(file)])
    there = {key for row in found for key in row}
    if all("?" in text(row.get("text")) for row in found):
        there -= {"text"}
    key = next((key for key in SAID if key in there), None)
    if key is None:
        raise BadData(f"{path}: row 1: none of the keys {keys.some(SAID)}. It has {held(found[0])}")
    kit = of_kit(path, found)
    return [row | {"_said": row.get(key), "_key": key, "_kit": kit} for row in found]


def _true(some: list[Row], path: Path) -> list[Row]:
    """The rows, each with its truth under `_truth`."""
    found = []
    for number, row in enumerate(some, 1):
        key = next((key for key in TRUTHS if key in row and key != row.get("_key")), None)
        if key is None:
            raise BadData(
                f"{path}, row {number}: none of the keys {keys.some(TRUTHS)}. It has {held(row)}. Where the truths are"
                " in a file of their own, give it with --references"
            )
        if text(row[key]).strip().lower() not in (*YES, *NO):
            raise BadData(f"{path}, row {number}: {key} is {row[key]!r}, neither yes nor no")
        found.append(row | {"_truth": row[key]})
    return found


def _labels(references: Path) -> dict[str, list[Row]]:
    """The questions of each split: of one file, under the name that it has in its file's."""
    if not references.is_dir():
        return {"": _true(table(references, "label"), references)}
    files = {split: sorted(references.glob(f"*{split}*.json*")) for split in SPLITS}
    if not any(files.values()):
        raise BadData(f"{references}: no file coco_pope_random.json, _popular or _adversarial in this folder")
    return {split: _true(table(some[0]), some[0]) for split, some in files.items() if some}


def _divided(answers: Sequence[Row], labels: dict[str, list[Row]], references: Path) -> dict[str, list[Row]]:
    """The answers of each split: by their `category`, their file's name, their question's category, or their order."""
    if len(labels) == 1:
        return {name: list(answers) for name in labels}
    told = {str(row["question_id"]): row["category"] for row in _questions(references)}
    names = [_split(row, told) for row in answers]
    if all(name in labels for name in names):
        return {split: [row for row, name in zip(answers, names, strict=True) if name == split] for split in labels}
    parted, place = {}, 0
    for split, truths in labels.items():  # adversarial, popular, random: the order of the file that models are asked
        parted[split] = list(answers[place : place + len(truths)])
        place += len(truths)
    if place != len(answers):
        raise BadData(
            f"{references} has {place:,} questions in {len(labels)} splits, and there are {len(answers):,} answers"
            " that do not say of which split they are (by a key `category`, or by one file for each split)"
        )
    return parted


def _questions(references: Path) -> list[Row]:
    """The file of questions beside the references, whose rows have a category, if there is one."""
    for file in sorted(references.glob("*.jsonl")) if references.is_dir() else ():
        found = rows(file)
        if found and {"question_id", "category"} <= found[0].keys():
            return found
    return []


def _split(row: Row, told: dict[str, str]) -> str:
    own = str(row.get("category") or told.get(str(row.get("question_id")), ""))
    return own or next((split for split in SPLITS if split in str(row.get("_file", ""))), "")
