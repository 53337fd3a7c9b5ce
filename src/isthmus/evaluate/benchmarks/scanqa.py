"""ScanQA: questions about scanned rooms, scored by exact matches and as captions are."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

from isthmus.errors import BadData, PartUnavailable
from isthmus.evaluate.answers import SAID, Pair, column, listed, pairs, records, text
from isthmus.evaluate.benchmarks._asked import Answered, frequent, have, upload
from isthmus.evaluate.benchmarks._parts import Value, add
from isthmus.evaluate.benchmarks.dynamic_superb import plain
from isthmus.evaluate.metrics import bleu, cider, meteor, ptb, rouge
from isthmus.evaluate.metrics.wordnet import lemma
from isthmus.evaluate.questions import SHORT, Question, inside, one
from isthmus.evaluate.scored import Scored, mean, of_sums, proportion
from isthmus.types import Points

ABOUT = "questions about scanned rooms: exact match of the first and of ten answers, and the measures of captions"
SOURCE = "Azuma et al., 2022, arXiv:2112.10482; scripts/score.py of github.com/ATR-DBI/ScanQA"
PREDICTIONS = {
    "the official pred.json": '{"question_id": "val-scene0011-0", "answer_top10": ["brown", "dark brown"]}',
    "JSON lines with one answer": '{"question_id": "val-scene0011-0", "text": "brown"}',
}
REFERENCES = {
    "ScanQA_v1.0_val.json": (
        '{"question_id": "val-scene0011-0", "scene_id": "scene0011_00", "question": "What color is the chair?",'
        ' "answers": ["brown"]}'
    ),
}
DATA = {
    "ScanQA_v1.0_val.json": "the questions with their answers (or those of a test set, whose answers are not public)",
    "scans": "the folder of ScanNet's rooms: scene0011_00/scene0011_00_vh_clean_2.ply",
}
GET = "github.com/ATR-DBI/ScanQA (ScanQA_v1.0_val.json), and scans of scan-net.org"
HEADLINE = "em_1"
TOP = ("answer_top10", "pred_answers_at10")
KINDS = {  # what stands in a question, in the order in which it is looked for
    "Where": "place",
    "How many": "number",
    "What color": "color",
    "What is the color": "color",
    "What shape": "object_nature",
    "What type": "object_nature",
    "What kind": "object_nature",
    "What is": "object",
}


def score(predictions: Path, references: Path | None, mode: str) -> Scored:
    """em_1, em_10 where there are ten answers, f_value, each type's em_1, then BLEU, METEOR, ROUGE-L and CIDEr.

    Texts are compared as they are; in lenient mode without case, outer white space and a full stop at the end. CIDEr is
    on the scale from 0 to 10, the others are shares.
    """
    found = Scored()
    assert references is not None
    truths = records(references)
    column(truths, ["answers", "answer"], references, "the true answers")
    some = pairs(predictions, truths, found, said=(*TOP, *SAID))
    if not some:
        raise BadData(f"{predictions}: no answer in it is to a question of {references}")
    values = [
        Value(float(hit(own, 1, mode)), _scene(own), (kind(text(own.truth.get("question", ""))),), own.id)
        for own in some
    ]
    add(found, "em_1", values, dict.fromkeys(KINDS.values()))
    if any(one.key in TOP for one in some):
        found.add({"em_10": proportion((hit(one, 10, mode) for one in some), map(_scene, some))})
    _add_f(found, some)
    _add_captions(found, some)
    return found


def questions(folder: Path) -> Sequence[Question]:
    """Each question to its scanned room, with LLaVA-1.5's ending for short answers."""
    file = _asked(folder)
    found = []
    for number, row in enumerate(records(file), 1):
        have(row, ("question_id", "scene_id", "question"), file, number)
        name, scene = text(row["question_id"]), text(row["scene_id"])
        scan = f"{scene}/{scene}_vh_clean_2.ply"
        cloud = inside(folder, [f"scans/{scan}", f"scans_test/{scan}", scan], f"question {name}")
        found.append(
            Question(
                *(name, text(row["question"]), (Points(cloud),)), after=SHORT, image=scene, longest=32,
                truth=frequent(listed(row.get("answers", []))),
                parts=(kind(text(row["question"])),),
                row={key: row[key] for key in ("question_id", "scene_id", "question")},
            )
        )  # fmt: skip
    return found


def write(folder: Path, out: Path, answered: Answered) -> Path | None:
    """The rows, and `pred.json` as the authors' server takes it; None where the answers are not public."""
    return upload(
        out, answered, "pred.json", _prediction, public=any("answers" in row for row in records(_asked(folder)))
    )


def truths(folder: Path) -> Path:
    """The file of questions, which has the answers."""
    return _asked(folder)


def _asked(folder: Path) -> Path:
    return one(folder, "ScanQA_v1.0_val.json", "*/ScanQA_v1.0_val.json", "ScanQA_*.json", "*/ScanQA_*.json")


def _prediction(own: Question, said: str) -> dict[str, object]:
    scene, name = own.row["scene_id"], own.row["question_id"]
    return {"scene_id": scene, "question_id": name, "answer_top10": [said], "bbox": []}


def kind(question: str) -> str:
    """The type of a question, by the words in it.

    >>> kind("What color is the chair?"), kind("What is on the bed?"), kind("Is it round?")
    ('color', 'object', 'other')
    """
    return next((name for words, name in KINDS.items() if words in question), "other")


def f_value(truth: Sequence[str], said: Sequence[str]) -> float:
    """The harmonic mean of the shares of each side's words that the other side has.

    >>> round(f_value(["brown", "chair"], ["brown"]), 3), f_value(["a"], ["b"])
    (0.667, 0)
    """
    if not truth or not said:
        return 0
    precision = sum(word in truth for word in said) / len(said)
    recall = sum(word in said for word in truth) / len(truth)
    return 2 * recall * precision / (recall + precision) if recall + precision else 0


def _scene(one: Pair) -> str:
    return text(one.truth.get("scene_id", one.id))


def hit(one: Pair, best: int, mode: str) -> bool:
    """Whether a truth is among the first so many answers."""
    value = one.own[one.key]
    said = [text(answer) for answer in value[:best]] if isinstance(value, list) else [one.said]
    if mode == "official":
        return not set(said).isdisjoint(one.told())
    return not {plain(answer) for answer in said}.isdisjoint(map(plain, one.told()))


def _add_f(found: Scored, some: Sequence[Pair]) -> None:
    """The F-value of lemmas, for which WordNet must be there."""
    values = []
    try:
        for one in some:
            said, told = [lemma(word) for word in one.said.split()], one.told()
            lemmas = [[lemma(word) for word in truth.split()] for truth in told]
            values.append(1.0 if one.said in told else max(f_value(said, truth) for truth in lemmas))
    except PartUnavailable as error:
        found.notes.append(f"no f_value: {error}")
        return
    found.add({"f_value": mean(values, [_scene(one) for one in some])})


def _add_captions(found: Scored, some: Sequence[Pair]) -> None:
    """The measures of captions, of the first answer against all true ones."""
    scenes = [_scene(one) for one in some]
    said = ptb.tokenise([one.said for one in some])
    told = [ptb.tokenise(one.told()) for one in some]
    sums = bleu.statistics(said, told)
    for n in range(1, 5):
        found.add({f"bleu_{n}": of_sums(functools.partial(bleu.bleu, n=n), sums, scenes)})
    try:
        found.add({"meteor": of_sums(meteor.meteor_of, meteor.statistics(said, told), scenes)})
    except PartUnavailable as error:
        found.notes.append(f"no meteor: {error}")
    found.add({"rouge_l": mean(rouge.rouge_l(said, told), scenes), "cider": mean(cider.cider_d(said, told), scenes)})
