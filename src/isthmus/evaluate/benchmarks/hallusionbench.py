"""HallusionBench: language hallucination and visual illusion, by questions to figures and to edited figures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from isthmus.errors import BadData
from isthmus.evaluate.benchmarks._asked import have, hubs, shown, somewhere
from isthmus.evaluate.benchmarks._hallusion import (
    ILLUSION,
    KEYS,
    LANGUAGE,
    MIXED,
    RIGHT,
    UNCLEAR,
    Read,
    causes,
    joined,
    read,
    row_of,
)
from isthmus.evaluate.benchmarks._rows import slug, table, text
from isthmus.evaluate.files import Row
from isthmus.evaluate.questions import Question
from isthmus.evaluate.scored import Figure, Scored, mean, of_sums, proportion
from isthmus.types import Image

ABOUT = "illusion and language hallucination: accuracy by question, by pair of questions and by figure"
SOURCE = "Guan et al., 2023, arXiv:2310.14566; evaluation.py of github.com/tianyi-lab/HallusionBench"
PREDICTIONS = {
    "HallusionBench_result.json, judged: 0 wrong, 1 right, 2 unclear": (
        '{"category": "VD", "subcategory": "illusion", "visual_input": "1", "set_id": "0", "figure_id": "0", '
        '"question_id": "0", "gt_answer": "1", "gpt4v_output_gpt_check": "1", "same": "1"}'
    ),
    "the same, not judged: yes or no is read": '{..., "gt_answer": "1", "model_prediction": "Yes, they are."}',
    "a sheet of VLMEvalKit (XLSX, TSV, CSV), by that toolkit's rule": (
        "index\tquestion\tanswer\tcategory\tl2-category\tprediction\nVD_illusion_1_0_0_0\t...?\tYes\tVD\tillusion\tYes."
    ),
}
REFERENCES = {
    "HallusionBench.json, where predictions do not repeat its keys": (
        '{"category": "VD", "subcategory": "illusion", "visual_input": "1", "set_id": "0", "figure_id": "0", '
        '"question_id": "0", "gt_answer": "1"}'
    ),
}
INSIDE = True
DATA = {
    "HallusionBench.json": "the questions",
    "hallusion_bench": "the folder of figures: VD/illusion/0_0.png and so on",
    "data/*.parquet": "or, in place of both, rows that hold the figures (splits image and non_image)",
}
GET = "github.com/tianyi-lab/HallusionBench, and its hallusion_bench.zip"
HUB = "lmms-lab/HallusionBench"
HEADLINE = "a_acc"
ENDING = " Please answer yes or no."  # VLMEvalKit's, whose rule reads the answers; the authors ask a judge
KEPT = ("visual_input", "sample_note", "question", "gt_answer_details")


def score(predictions: Path, references: Path | None, mode: str) -> Scored:
    """Accuracy by question, pair and figure, easy and hard, by category and subcategory, and the authors' diagnoses."""
    found = Scored()
    rows = [row_of(row, predictions, number) for number, row in enumerate(table(predictions), 1)]
    if references is not None:
        truths = [row_of(row, references, number) for number, row in enumerate(table(references), 1)]
        rows = joined(rows, truths, predictions, found)
    some = read(rows, predictions, mode, found)
    found.marks |= {"_".join((*one.picture, one.question)): float(one.right) for one in some}
    kit = mode == "official" and all("l2_category" in row for row in rows)
    if kit:
        some = [one._replace(right=one.verdict == RIGHT) for one in some]
        found.notes.append("by VLMEvalKit's rule: what is unclear is wrong, and VS without a figure counts as a figure")
    rule = _of_kit if kit else _of_authors
    found.add(rule(some))
    found.add({"accuracy": found.metrics["a_acc"]})  # by the name that other benchmarks give it
    for part in dict.fromkeys(one.category for one in some):
        found.add(rule([one for one in some if one.category == part]), slug(part))
    for part in dict.fromkeys(one.subcategory for one in some):
        found.add(_three([one for one in some if one.subcategory == part], kit), slug(part))
    if not kit:
        found.add(_diagnoses(some))
    unclear = [one.right for one in some if one.verdict == UNCLEAR]
    if unclear:
        found.notes.append(
            f"{len(unclear):,} answers are unclear; {sum(unclear):,} of them, without a figure (VS), are right"
        )
    return found


def questions(folder: Path) -> Sequence[Question]:
    """Every question; those without a figure (visual_input 0) are asked without one."""
    file = folder / "HallusionBench.json"
    held = table(file) if file.is_file() else _parquet(folder)
    found = []
    for number, row in enumerate(held, 1):
        have(row, (*KEYS, "question", "gt_answer"), file, number)
        name = "_".join(text(row[key]) for key in KEYS)
        own = {key: text(row[key]) for key in (*KEYS, "gt_answer")} | {key: row[key] for key in KEPT if key in row}
        category, subcategory, group, figure, _ = (text(row[key]) for key in KEYS)
        media: tuple[Image, ...] = ()
        if text(row.get("visual_input", "0" if (category, figure) == ("VS", "0") else "1")) != "0":
            media = (_figure(row, folder, f"question {name}"),)
        found.append(
            Question(
                *(name, text(row["question"]) + ENDING, media, ("yes", "no"), False),
                truth="yes" if own["gt_answer"] == "1" else "no", parts=(slug(category), slug(subcategory)),
                image="_".join((category, subcategory, group, figure)), row=own,
            )
        )  # fmt: skip
    return found


def _figure(row: Row, folder: Path, where: str) -> Image:
    if row.get("image") is not None:
        return shown(row["image"], folder, where)
    file = text(row.get("filename")).removeprefix("./")
    if not file or file == "None":
        file = f"{row['category']}/{row['subcategory']}/{text(row['set_id'])}_{text(row['figure_id'])}.png"
    return somewhere(folder, [f"hallusion_bench/{file}", file], where)


def _parquet(folder: Path) -> list[Row]:
    """The rows of both splits of the hub's files, which no usual name tells apart."""
    rows = hubs(folder)
    if not any(text(row.get("visual_input")) == "0" for row in rows):
        raise BadData(f"{folder}: no questions without a figure; non_image-*.parquet is missing in this folder")
    return rows


def _of_authors(some: Sequence[Read]) -> dict[str, Figure]:
    """The leaderboard: easy is without edited figures and hard with them only, each by pairs as `q_acc`."""
    easy, hard = ([one for one in some if (one.visual == "2") is edited] for edited in (False, True))
    return _three(some, False) | {"easy_a_acc": _all_of(easy, _pair), "hard_a_acc": _all_of(hard, _pair)}


def _of_kit(some: Sequence[Read]) -> dict[str, Figure]:
    found = _three(some, True)
    middle = sum(figure.value for figure in found.values()) / 3
    return found | {"average": Figure(middle, float("nan"), float("nan"), len(some))}


def _three(some: Sequence[Read], kit: bool) -> dict[str, Figure]:
    """aAcc over questions, qAcc over questions that are right for all figures, fAcc over figures with all right."""
    shown = [one for one in some if kit or (one.category, one.figure) != ("VS", "0")]
    pair, picture = (_kit_pair, _kit_picture) if kit else (_pair, _picture)
    return {
        "a_acc": proportion((one.right for one in some), (one.picture for one in some)),
        "q_acc": _all_of(some, pair),
        "f_acc": _all_of(shown, picture),
    }


def _all_of(some: Iterable[Read], key: Callable[[Read], tuple[str, ...]]) -> Figure:
    """The share of groups whose questions are all right; groups of one set share pictures."""
    groups: dict[tuple[str, ...], list[Read]] = {}
    for one in some:
        groups.setdefault(key(one), []).append(one)
    rights = [all(one.right for one in own) for own in groups.values()]
    return proportion(rights, ((own[0].category, own[0].subcategory, own[0].set) for own in groups.values()))


def _pair(one: Read) -> tuple[str, ...]:
    return one.pair


def _picture(one: Read) -> tuple[str, ...]:
    return one.picture


def _kit_pair(one: Read) -> tuple[str, ...]:
    return one.subcategory, one.set, one.question  # VLMEvalKit does not tell VD and VS apart


def _kit_picture(one: Read) -> tuple[str, ...]:
    return one.subcategory, one.set, one.figure


def _diagnoses(some: Sequence[Read]) -> dict[str, Figure]:
    """Bias to yes, consistency within figures, and what wrong answers come from."""
    names = [one.picture for one in some]
    # the authors take an answer to be yes if it is right where yes is, or wrong where no is
    yes = [[one.right == one.truth, one.truth, 1] for one in some]
    wrong = [one for one in some if not one.right]
    groups: dict[tuple[str, ...], list[bool]] = {}
    for one in some:
        if (one.category, one.figure) != ("VS", "0"):
            groups.setdefault(one.picture, []).append(one.right)
    found = {
        "yes_percentage_difference": of_sums(lambda sums: (sums[..., 0] - sums[..., 1]) / sums[..., 2], yes, names),
        "fp_ratio": proportion((not one.truth for one in wrong), (one.picture for one in wrong)),
        "consistency/correct": proportion(all(rights) for rights in groups.values()),
        "consistency/inconsistent": proportion(any(rights) and not all(rights) for rights in groups.values()),
        "consistency/wrong": proportion(not any(rights) for rights in groups.values()),
        "consistency/score": mean(sum(rights) / len(rights) for rights in groups.values()),
    }
    blamed = [cause for cause in causes(some) if cause]
    kinds = (LANGUAGE, ILLUSION, MIXED) if blamed else ()
    return found | {name: proportion(cause == name for cause in blamed) for name in kinds}
