"""MMBench: single-choice questions, each asked with its options in every rotation (CircularEval)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from isthmus.evaluate.benchmarks._choices import chosen, noted
from isthmus.evaluate.benchmarks._rows import Asked, Judged, accuracies, asked, slug, text
from isthmus.evaluate.scored import Scored

ABOUT = "twenty abilities in single-choice questions, right only if they are in every rotation of the options"
SOURCE = "Liu et al., 2023, arXiv:2307.06281; the rule without a judge of github.com/open-compass/VLMEvalKit"
PREDICTIONS = {
    "a sheet of VLMEvalKit or for the server (XLSX, TSV, CSV)": (
        "index\tquestion\tA\tB\tC\tD\tanswer\tprediction\tcategory\tl2-category\n"
        "1000241\tWhat is it?\ta dog\ta cat\t\t\tB\tB. a cat\tobject_localization\tfinegrained_perception"
    ),
    "LLaVA's answers": '{"question_id": 241, "round_id": 0, "prompt": "...", "text": "A"}',
}
REFERENCES = {
    "the benchmark's TSV with answers": "index\tquestion\tA\tB\tC\tD\tanswer\tcategory\tl2-category\tsplit",
}
INSIDE = True
ROUND = 1_000_000  # indices of the rotations of one question differ by multiples of it


def score(predictions: Path, references: Path | None, mode: str) -> Scored:
    """Accuracy by CircularEval where there are rotations, and of the first round alone; by split, ability and group."""
    found = Scored()
    some = asked(predictions, references, found)
    hits = judged(some, mode, found)
    first = [one for one in some if one.id in hits and _main(one) == one.id]
    rounds: dict[str, list[bool | None]] = {}
    for one in some:
        rounds.setdefault(_main(one), []).append(hits.get(one.id))
    # one wrong round settles a question, and without one an unscored round leaves it open
    whole = {name: False if False in own else None if None in own else True for name, own in rounds.items()}
    if len(whole) == len(some):
        found.add(accuracies([Judged(hits[one.id], parts(one), one.image) for one in first]))
        return found
    asked_first = [one for one in some if _main(one) == one.id]
    lost = [one for one in asked_first if whole[one.id] is None]
    found.unscored |= {one.id: "a rotation of it is unscored" for one in lost if one.id not in found.unscored}
    kept = [one for one in asked_first if whole[one.id] is not None]
    found.add(accuracies([Judged(bool(whole[one.id]), parts(one), one.image) for one in kept]))
    plain = accuracies([Judged(hits[one.id], (), one.image) for one in first], "vanilla_accuracy")
    found.metrics = {"accuracy": found.metrics["accuracy"]} | plain | found.metrics
    found.notes.append("accuracy is CircularEval's: a question is right if it is in every rotation of its options")
    if orphans := len(set(whole) - {one.id for one in asked_first}):
        found.notes.append(f"{orphans:,} questions without their first round were left out, as VLMEvalKit does")
    return found


def judged(some: Sequence[Asked], mode: str, found: Scored) -> dict[str, bool]:
    """Whether each answer is right, by id; a column `hit`, a judge's verdict, is taken as it is in official mode."""
    if mode == "official" and some and all("hit" in one.row and text(one.row["hit"]) for one in some):
        found.notes.append("right is what the column `hit` says")
        return {one.id: text(one.row["hit"]).lower() in ("1", "true") for one in some}
    letters = {one.id: chosen(one, mode, found) for one in some}
    noted(sum(letter == "" for letter in letters.values()), found, "wrong without a judge")
    return {one.id: letters[one.id] == one.truth.upper() for one in some if letters[one.id] is not None}


def parts(one: Asked) -> tuple[str, ...]:
    """The split, the group of abilities and the ability of a question, as far as its row names them."""
    keys = ("split", "l2_category", "category")
    return tuple(dict.fromkeys(slug(name) for name in (text(one.row.get(key)) for key in keys) if name))


def _main(one: Asked) -> str:
    """The id of the first round of a question."""
    return str(int(one.id) % ROUND) if one.id.isdecimal() else one.id
