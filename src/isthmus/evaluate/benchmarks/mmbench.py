"""MMBench: single-choice questions, each asked with its options in every rotation (CircularEval)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from isthmus.evaluate.benchmarks._asked import Answered, hubs, lines, sheet, shown
from isthmus.evaluate.benchmarks._choices import chosen, noted
from isthmus.evaluate.benchmarks._rows import SHORT, Asked, Judged, accuracies, asked, of_splits, slug, text
from isthmus.evaluate.files import Row, pick, rows
from isthmus.evaluate.questions import LETTER, Question, lettered
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
DATA = {
    "*.tsv": "mmbench_dev_20230712.tsv or another of its tables; of several the English dev one; pictures are in it",
    "en/*.parquet": "or rows in Parquet with the same columns",
}
GET = "github.com/open-compass/MMBench (mmbench_dev_20230712.tsv), or the same for VLMEvalKit (MMBench_DEV_EN.tsv)"
HUB = "lmms-lab/MMBench"
HEADLINE = "accuracy"
CHINESE = "请直接回答选项字母。"  # what LLaVA-1.5 asks with in place of `LETTER`
ONE_ROUND = "one round of each question: CircularEval, which MMBench's own figures are of, has all rotations"
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
        found.add(of_splits([(_split(one), Judged(hits[one.id], parts(one)[1:], one.image)) for one in first]))
        found.notes.append(ONE_ROUND)
        return found
    asked_first = [one for one in some if _main(one) == one.id]
    lost = [one for one in asked_first if whole[one.id] is None]
    found.unscored |= {one.id: "a rotation of it is unscored" for one in lost if one.id not in found.unscored}
    kept = [one for one in asked_first if whole[one.id] is not None]
    found.marks = {one.id: float(bool(whole[one.id])) for one in kept}
    found.add(accuracies([Judged(bool(whole[one.id]), parts(one), one.image) for one in kept]))
    found.add(of_splits([(_split(one), Judged(bool(whole[one.id]), parts(one)[1:], one.image)) for one in kept]))
    plain = accuracies([Judged(hits[one.id], (), one.image) for one in first], "vanilla_accuracy")
    found.metrics = {"accuracy": found.metrics["accuracy"]} | plain | found.metrics
    found.notes.append("accuracy is CircularEval's: a question is right if it is in every rotation of its options")
    if orphans := len(set(whole) - {one.id for one in asked_first}):
        found.notes.append(f"{orphans:,} questions without their first round were left out, as VLMEvalKit does")
    return found


def questions(folder: Path) -> Sequence[Question]:
    """Those of one table as LLaVA-1.5 asks them, each in its first round; rotations are the run's own matter."""
    tables = sorted(folder.glob("*.tsv"), key=lambda file: _rank(file.name))
    name = tables[0].name if tables else ""
    held = rows(tables[0]) if tables else hubs(folder, "dev", "test", under="en")
    return in_table(held, folder, CHINESE if "cn" in name.lower().split(".")[0].split("_") else LETTER)


def write(folder: Path, out: Path, answered: Answered) -> Path | None:
    """The rows, and `mmbench.xlsx` for the benchmark's server; None where the truths are not public."""
    cells = ("index", "question", "A", "B", "C", "D")
    sheet(out / "mmbench.xlsx", [{c: own.row.get(c) for c in cells} | {"prediction": told} for own, told in answered])
    told = lines(out, answered)
    return told if all(own.truth for own, _ in answered) else None


def _rank(name: str) -> tuple[bool, bool, str]:
    low = name.lower()
    return "dev" not in low, "cn" in low.split(".")[0].split("_"), low


def in_table(held: Sequence[Row], folder: Path, ending: str) -> list[Question]:
    """Questions of rows; a picture can be the number of the row that holds it."""
    held = [{key if len(key) == 1 else key.lower(): cell for key, cell in row.items()} for row in held]
    pictures = {text(row.get("index")): row.get("image") for row in held}
    first: dict[object, str] = {}
    found = []
    for place, row in enumerate(held, 1):
        where = f"row {place}"
        name = text(pick(row, ["index"], folder, place))
        if name.isdecimal() and int(name) >= ROUND and str(int(name) % ROUND) in pictures:
            continue
        image = row.get("image")
        image = pictures.get(text(image), image) if isinstance(image, str | int) and len(str(image)) < SHORT else image
        cluster = first.setdefault(image, name) if isinstance(image, str) else name
        hint, truth = text(row.get("hint")), text(row.get("answer")).strip().upper()
        kept = {
            key: row[key] for key in (*"ABCDEFG", "category", "l2-category") if text(row.get(key)) not in ("", "nan")
        }
        kept = {"index": name, "question": text(pick(row, ["question"], folder, place))} | kept | {"image": cluster}
        asked_ = "\n".join(part for part in (hint, kept["question"]) if part not in ("", "nan"))
        found.append(
            Question(
                *(name, asked_, (shown(image, folder, where),), lettered(row), True, ending, truth, named(kept)),
                image=cluster, row=kept | ({"answer": truth} if truth else {}),
            )
        )  # fmt: skip
    return found


def judged(some: Sequence[Asked], mode: str, found: Scored) -> dict[str, bool]:
    """Whether each answer is right, by id; a column `hit`, a judge's verdict, is taken as it is in official mode."""
    if mode == "official" and some and all("hit" in one.row and text(one.row["hit"]) for one in some):
        found.notes.append("right is what the column `hit` says")
        hits = {one.id: text(one.row["hit"]).lower() in ("1", "true") for one in some}
        return marked(hits, found)
    letters = {one.id: chosen(one, mode, found) for one in some}
    noted(sum(letter == "" for letter in letters.values()), found, "wrong without a judge")
    return marked({one.id: letters[one.id] == one.truth.upper() for one in some if letters[one.id] is not None}, found)


def marked(hits: dict[str, bool], found: Scored) -> dict[str, bool]:
    """The same, each as its sample's own score."""
    found.marks |= {name: float(hit) for name, hit in hits.items()}
    return hits


def parts(one: Asked) -> tuple[str, ...]:
    """The split, the group of abilities and the ability of a question, as far as its row names them."""
    return named(one.row)


def named(row: Row) -> tuple[str, ...]:
    """The parts that a row names."""
    told = (text(row.get(key, row.get(key.replace("_", "-")))) for key in ("split", "l2_category", "category"))
    return tuple(dict.fromkeys(slug(name) for name in told if name))


def _split(one: Asked) -> str:
    return slug(text(one.row.get("split")))


def _main(one: Asked) -> str:
    """The id of the first round of a question."""
    return str(int(one.id) % ROUND) if one.id.isdecimal() else one.id
