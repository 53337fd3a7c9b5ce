"""HallusionBench's questions with the verdicts on their answers, and what the wrong ones come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from isthmus.errors import BadData
from isthmus.evaluate import keys
from isthmus.evaluate.benchmarks import pope
from isthmus.evaluate.benchmarks._choices import yes_or_no
from isthmus.evaluate.benchmarks._rows import text
from isthmus.evaluate.files import Row, pick
from isthmus.evaluate.scored import Scored

KEYS = ("category", "subcategory", "set_id", "figure_id", "question_id")
SAID = keys.said("model_prediction", "prediction", "model_output", "gpt4v_output", "response", "text", "pred", "output")
WRONG, RIGHT, UNCLEAR = 0, 1, 2  # a judge's verdicts
LANGUAGE, ILLUSION, MIXED = "language_hallucination", "visual_illusion", "mixed"


class Read(NamedTuple):
    """One question: where it belongs, the verdict on its answer (0, 1, 2), and whether it counts as right."""

    category: str
    subcategory: str
    visual: str  # 0: no figure, 1: the original, 2: an edited one
    set: str
    figure: str
    question: str
    truth: bool
    verdict: int
    right: bool
    same: bool  # as the answer to the original figure

    @property
    def said(self) -> bool | None:
        """Whether yes was said, which the verdict tells; None where that is not clear."""
        return None if self.verdict == UNCLEAR else (self.verdict == RIGHT) == self.truth

    @property
    def pair(self) -> tuple[str, ...]:
        return self.category, self.subcategory, self.set, self.question

    @property
    def picture(self) -> tuple[str, ...]:
        return self.category, self.subcategory, self.set, self.figure


def read(rows: Sequence[Row], path: Path, mode: str, found: Scored) -> list[Read]:
    """The questions with verdicts; those that were not judged are read for yes and no."""
    check = _judge(rows)
    some: dict[tuple[str, ...], Read] = {}
    for number, row in enumerate(rows, 1):
        place = [text(pick(row, [key], path, number)) for key in KEYS]
        if tuple(place) in some:
            raise BadData(f"{path}, row {number}: the question {'_'.join(place)} stands twice")
        truth = text(pick(row, ["gt_answer", "answer"], path, number)).lower() in ("1", "yes", "true")
        if check:
            verdict = _verdict(row[check], path, number, check)
        else:
            said = (yes_or_no if mode == "official" else pope.read)(text(pick(row, SAID, path, number)))
            verdict = UNCLEAR if said is None else int(said == truth)
        category, subcategory, group, figure, question = place
        unshown = category == "VS" and figure == "0"
        visual = text(row.get("visual_input", "0" if unshown else "1" if figure == "0" else "2"))
        right = verdict == RIGHT or (verdict == UNCLEAR and unshown)  # not to know what is not shown is right
        some[tuple(place)] = Read(
            category, subcategory, visual, group, figure, question, truth, verdict, right, text(row.get("same")) == "1"
        )
    if not check:
        found.notes.append("no judge's verdicts in the file: yes or no is read from the words, as VLMEvalKit does")
        for key, one in list(some.items()):
            if mode == "lenient" and one.verdict == UNCLEAR:
                found.unscored["_".join(key)] = "neither yes nor no is said"
                del some[key]
    if not some and not found.unscored:
        raise BadData(f"{path}: no questions that can be scored in it")
    return list(some.values()) if all("same" in row for row in rows) else _with_same(list(some.values()))


def _with_same(some: Sequence[Read]) -> list[Read]:
    """The questions, each with whether it has the same answer as the one to the original figure."""
    original = {one.pair: one for one in some if one.figure == "0"}
    return [one._replace(same=one.said is not None and one.said == original.get(one.pair, one).said) for one in some]


def _judge(rows: Sequence[Row]) -> str:
    """The key of a judge's verdicts, if all rows have one: it ends in `check` or `correctness`."""
    for key in rows[0] if rows else ():
        if key.endswith(("check", "correctness")) and all(text(row.get(key)) for row in rows):
            return str(key)
    return ""


def _verdict(value: object, path: Path, number: int, key: str) -> int:
    if (told := text(value).strip()) not in ("0", "1", "2"):
        raise BadData(f"{path}, row {number}: {key} is {told!r}, not 0 (wrong), 1 (right) or 2 (unclear)")
    return int(told)


def row_of(row: Mapping[str, object], path: Path, number: int) -> Row:
    """A row with the authors' keys; VLMEvalKit has them in its index: VD_illusion_1_0_0_0, from the third on."""
    told = dict(row)
    if "set_id" not in told and "index" in told:
        cells = text(told["index"]).split("_")
        if len(cells) != 6:
            raise BadData(f"{path}, row {number}: the index {told['index']} is not like VD_illusion_1_0_0_0")
        names = ("category", "subcategory", "visual_input", "set_id", "figure_id", "question_id")
        told = dict(zip(names, cells, strict=True)) | told
        told["subcategory"] = told.get("l2_category", told["subcategory"])
    return told


def joined(rows: Sequence[Row], truths: Sequence[Row], path: Path, found: Scored) -> list[Row]:
    """The rows with what the references say of the same questions."""
    said = {tuple(text(row.get(key)) for key in KEYS): row for row in rows}
    both = []
    for truth in truths:
        key = tuple(text(truth.get(name)) for name in KEYS)
        if key in said:
            both.append(said[key] | truth)
        else:
            found.unscored["_".join(key)] = "no prediction"
    if not both:
        raise BadData(f"{path}: no question of it is among the references; the keys are {', '.join(KEYS)}")
    return both


def causes(some: Sequence[Read]) -> list[str]:
    """The cause of each answer that is not right, empty for the others.

    By the authors' tree of decisions (section 3 of their paper), from the verdicts on the answer and on the one to the
    original figure of the same question, or to the question without a figure, and from whether both say the same.
    """
    original = {one.pair: one.verdict for one in some if one.figure == "0"}
    return [_original(one) if one.figure == "0" else _edited(one, original.get(one.pair)) for one in some]


def _original(one: Read) -> str:
    if one.category == "VD":
        return ILLUSION if one.verdict != RIGHT else ""
    return LANGUAGE if one.verdict == WRONG else ""  # without a figure, made up


def _edited(one: Read, before: int | None) -> str:
    if one.verdict == RIGHT or before is None:
        return ""
    if one.category == "VD":
        return MIXED if before == RIGHT and one.verdict == WRONG and one.same else ILLUSION
    if before == WRONG:
        return LANGUAGE if one.verdict == WRONG and one.same else MIXED
    if before == RIGHT and one.verdict == WRONG and one.visual == "2" and one.same:
        return LANGUAGE  # the figure was edited, and what is known without it was said again
    return ILLUSION
