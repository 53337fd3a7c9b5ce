"""Questions with their truth and what a model said, from the forms in which people publish both.

Keys are taken in lower case with underscores (`l2-category` and `L2_Category` are `l2_category`), but the columns of
options, A to Z, as they are. Predictions and references belong together by their ids, whatever the order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from isthmus.errors import BadData
from isthmus.evaluate import keys
from isthmus.evaluate.files import SHEETS, TABLES, Row, columns, document, identity, matched, pick, rows, single
from isthmus.evaluate.scored import Figure, Scored, macro_mean, proportion

IDS = ("index", "question_id", "questionid", "q_id", "qid", "id", "sample_id", "data_id", "pid", "doc_id")
SAID = keys.said("prediction", "response", "model_output", "model_prediction", "text")
TRUTH = keys.truths("ground_truth", "gt", "gt_answer", "target", "label", "truth", "answer")
SHORT = 64  # characters: a longer `image` is a picture in base64, a shorter one the index of the row that holds it


class Asked(NamedTuple):
    """One question; `said` is empty where a row says nothing, `image` names what several questions share."""

    id: str
    said: str
    truth: str
    row: Row
    image: str


class Judged(NamedTuple):
    """One answer, right or not, the parts of the benchmark that it belongs to, and its picture."""

    right: bool
    parts: tuple[str, ...]
    image: str


def slug(name: object) -> str:
    """A part's name as metrics carry it.

    >>> slug("Image Scene & Topic")
    'image_scene_&_topic'
    """
    return "_".join(str(name).strip().lower().replace("/", " or ").split())


def text(value: object) -> str:
    """A cell as text: a list of one is its item, a number that is whole has no point, NaN and None are empty.

    >>> text(["A"]), text(3.0), text(float("nan")), text(None)
    ('A', '3', '', '')
    """
    while isinstance(value, list | tuple) and len(value) == 1:
        value = value[0]
    if value is None or value != value:
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def accuracies(some: Sequence[Judged], name: str = "accuracy") -> dict[str, Figure]:
    """The share of right answers, over all and in each part, in the order in which the parts first appear.

    >>> found = accuracies([Judged(True, ("a",), "1"), Judged(False, ("b",), "2")])
    >>> {key: figure.value for key, figure in found.items()}
    {'accuracy': 0.5, 'a/accuracy': 1.0, 'b/accuracy': 0.0}
    """
    found = {name: proportion((one.right for one in some), (one.image for one in some))}
    for part in dict.fromkeys(part for one in some for part in one.parts):
        own = [one for one in some if part in one.parts]
        found[f"{part}/{name}"] = proportion((one.right for one in own), (one.image for one in own))
    return found


def of_splits(some: Sequence[tuple[str, Judged]]) -> dict[str, Figure]:
    """Of each split its share of right answers and that of its parts; nothing of a single split.

    >>> some = [("dev", Judged(True, ("art",), "1")), ("validation", Judged(False, ("art",), "2"))]
    >>> {name: figure.value for name, figure in of_splits(some).items()}["validation/art/accuracy"]
    0.0
    """
    splits = dict.fromkeys(split for split, _ in some if split)
    found: dict[str, Figure] = {}
    for split in splits if len(splits) > 1 else ():
        own = accuracies([one for other, one in some if other == split])
        found |= {f"{split}/{name}": figure for name, figure in own.items()}
    return found


def macro(some: Sequence[Judged]) -> Figure:
    """The mean over parts of the share of right answers, each answer in its first part.

    >>> some = [Judged(hit, (part,), str(i)) for i, (hit, part) in enumerate([(True, "a"), (True, "b"), (False, "b")])]
    >>> macro(some).value
    0.75
    """
    rights, parts, images = zip(*((float(one.right), one.parts[0], one.image) for one in some), strict=True)
    return macro_mean(rights, parts, images)


def table(path: Path, value: str = "prediction") -> list[Row]:
    """The rows of a file; of `{id: text}` rows with that text under the key `value`, of `{id: {...}}` its objects."""
    if path.suffix.lower() not in (*SHEETS, *TABLES):
        found = document(path)
        if isinstance(found, list) and found and all(isinstance(one, str) for one in found):
            return [{value: one} for one in found]
        if isinstance(found, Mapping) and not (
            set(map(_key, found)) & {*IDS, *SAID} or columns(found) or single(found)
        ):
            if found and all(isinstance(own, Mapping) for own in found.values()):
                return [{"index": key} | _named(own) for key, own in found.items()]
            if found and all(map(_plain, found.values())):
                return [{"index": key, value: own} for key, own in found.items()]
    return [_named(row) for row in rows(path)]


def _plain(cell: object) -> bool:
    """Whether it is a text or a number, or several texts."""
    return isinstance(cell, str | int | float | None) or (
        isinstance(cell, list) and bool(cell) and all(isinstance(one, str) for one in cell)
    )


def asked(
    predictions: Path,
    references: Path | None,
    found: Scored,
    said: Sequence[str] = SAID,
    truth: Sequence[str] = TRUTH,
) -> list[Asked]:
    """The questions that were answered, in the order of the references; the others go into `found.unscored`.

    Raises `BadData` for rows without an answer or a truth, an id that stands twice, and files without an id in common.
    """
    own = table(predictions)
    if references is None and not any(key in row for row in own for key in IDS):
        own = [{"index": number} | row for number, row in enumerate(own)]
    true_rows = own if references is None else table(references, "answer")
    if references and len(own) == len(true_rows) and not any(key in row for row in own for key in IDS):
        ids = [pick(row, IDS, references, number) for number, row in enumerate(true_rows, 1)]
        own = [{"index": name} | row for name, row in zip(ids, own, strict=True)]
        found.notes.append("predictions have no ids and are matched with the questions by their order")
    answers = _by_id(own, predictions)
    truths = answers if references is None else _by_id(true_rows, references)
    names = matched(answers, truths, found.unscored)
    if more := len(answers) - len(names):
        found.notes.append(f"{more:,} predictions are of no question of {references} and were left out")
    source = references or predictions
    told = {key for row in answers.values() for key in row} & set(said)  # an empty cell of a sheet has no key
    spoken = said if references is None or told else (*said, "answer")
    both = []
    for number, name in enumerate(names, 1):
        answer = text(
            pick(answers[name] if not told else dict.fromkeys(told) | answers[name], spoken, predictions, number)
        )
        true = text(pick(truths[name], truth, source, number)).strip()
        if not true:
            raise BadData(f"{source}: the truth of {name} is empty; a test set whose answers are not public has none")
        both.append(Asked(name, answer, true, answers[name] | truths[name], ""))
    return _with_images(both)


def _by_id(some: Iterable[Row], path: Path) -> dict[str, Row]:
    found: dict[str, Row] = {}
    for number, row in enumerate(some, 1):
        name = identity(text(pick(row, IDS, path, number)))
        if name in found:
            raise BadData(f"{path}, row {number}: the id {name} stands twice")
        found[name] = row
    return found


def _with_images(some: Sequence[Asked]) -> list[Asked]:
    """Each question with the name of its picture: a path, or the first row that holds the same picture."""
    holder: dict[str, str] = {}
    found = []
    for one in some:
        image = text(next((one.row[key] for key in ("image_path", "image", "image_id") if one.row.get(key)), ""))
        found.append(
            one._replace(image=image if 0 < len(image) < SHORT else holder.setdefault(image or one.id, one.id))
        )
    return found


def _named(row: Mapping[Any, Any]) -> Row:
    return {_key(key): value for key, value in row.items()}


def _key(key: object) -> str:
    name = str(key).strip()
    return name if len(name) == 1 else name.lower().replace("-", "_").replace(" ", "_")
