"""Answers beside their questions, whatever a file calls them: the keys in use, and how two files are matched.

Files of one benchmark differ by who wrote them: the authors, a model's makers (LLaVA's `question_id, text`), an
evaluation toolkit (VLMEvalKit's `index, prediction, answer`). Keys are therefore tried in an order, in any case.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from isthmus.errors import BadData
from isthmus.evaluate import keys
from isthmus.evaluate.files import SHEETS, TABLES, Row, columns, document, flat, held, identity, rows, single
from isthmus.evaluate.scored import Scored

IDS = ("question_id", "questionid", "qid", "id", "index", "sample_id", "doc_id", "uniq_id")
SAID = keys.said("text", "answer")
TRUTHS = keys.truths(
    *("gt_answers", "gt_answer", "answer_gt", "ground_truth", "groundtruth", "gt", "annotation", "answers", "label"),
    *("labels", "target", "reference", "references", "answer"),
)
IMAGES = ("image_id", "image", "imgname", "img_id", "image_path", "imagename", "img", "video", "scene_id", "docid")
NO_ANSWER = "no prediction"
Join = Callable[[Row], str | None]


class Pair(NamedTuple):
    """A question with its answer: the row of the truths, and that of the predictions (both the same if in one file)."""

    id: str
    truth: Row
    own: Row
    said: str
    key: str  # under which the answer stands

    def told(self, keys: Sequence[str] = ()) -> list[str]:
        """The truths, under the first of `keys`, `answers` or `TRUTHS` that the row has, if it is not the answer's.

        Raises `BadData` for a row that holds none.
        """
        found = next((self.truth[key] for key in (*keys, "answers", *TRUTHS) if self._may(key)), None)
        if found is None or found == []:
            raise BadData(f"{self.id}: no true answer beside its question, which has {', '.join(self.truth)}")
        return listed(found)

    def _may(self, key: str) -> bool:
        return key in self.truth and not (self.truth is self.own and key == self.key)


def records(path: Path, pattern: str = "*") -> list[Row]:
    """The rows of a file, or of a folder's files that match, with keys in lower case and empty cells left out.

    Of an object of objects, each with its key under `id`; of one of texts, each with its key as well, under `answer`.
    """
    if path.is_dir():
        files = sorted(one for one in path.glob(pattern) if one.is_file() and not one.name.startswith("."))
        if not files:
            raise BadData(f"{path}: no file {pattern} in this folder")
        return [row | {"_file": file.stem} for file in files for row in records(file)]
    return [tidy(flat(row)) for row in _records(path)]


def _records(path: Path) -> Sequence[Mapping[str, Any]]:
    if path.suffix.lower() in (*SHEETS, *TABLES):
        return rows(path)
    found = document(path)
    if isinstance(found, Mapping):
        return _of_object(found)
    if isinstance(found, list) and found and all(isinstance(one, str) for one in found):
        return [{"answer": one} for one in found]
    if not isinstance(found, list) or not all(isinstance(row, Mapping) for row in found):
        raise BadData(f"{path}: expected a list of objects, one for each sample")
    return found


def _of_object(found: Mapping[str, Any]) -> list[Row]:
    if some := columns(found):
        return some
    if single(found):
        return [dict(found)]
    lists = [value for value in found.values() if isinstance(value, list) and value and isinstance(value[0], Mapping)]
    if lists:
        return [dict(row) for row in max(lists, key=len)]
    if all(isinstance(value, Mapping) for value in found.values()):
        return [{"id": key} | dict(value) for key, value in found.items()]
    if {str(key).lower() for key in found} & {*IDS, *IMAGES, "question"}:
        return [dict(found)]  # JSON lines of one line
    return [{"id": key, "answer": value} for key, value in found.items()]


def tidy(row: Mapping[str, Any]) -> Row:
    """A row with keys in lower case, without cells that hold nothing (None, NaN).

    >>> tidy({"Index": 3, " Answer ": "A", "prediction": float("nan")})
    {'index': 3, 'answer': 'A'}
    """
    return {
        str(key).strip().lower(): value
        for key, value in row.items()
        if value is not None and not (isinstance(value, float) and value != value)
    }


def text(value: Any) -> str:
    """A cell as text: the first of a list, 12 of 12.0.

    >>> text(12.0), text([["yes"], ["no"]]), text("3.50"), text([])
    ('12', 'yes', '3.50', '')
    """
    if isinstance(value, list):
        return text(value[0]) if value else ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def listed(value: Any) -> list[str]:
    """Several truths as texts: a list, a list that is written out, the answers of rows `{answer: ...}`, or one text.

    >>> listed("['2', 'two']"), listed([{"answer": "yes", "answer_id": 1}]), listed("[sic]"), listed(4.0)
    (['2', 'two'], ['yes'], ['[sic]'], ['4'])
    """
    if isinstance(value, str) and value.strip().startswith("[") and value.strip().endswith("]"):
        try:
            return listed(ast.literal_eval(value.strip()))
        except (ValueError, SyntaxError):
            return [value]
    if isinstance(value, (list, tuple)):
        return [text(one["answer"] if isinstance(one, Mapping) and "answer" in one else one) for one in value]
    return [text(value)]


def slug(name: object) -> str:
    """A part's name as it stands before a metric's.

    >>> slug("yes/no"), slug("What is the"), slug("01-Illegal_Activitiy")
    ('yes_no', 'what_is_the', '01_illegal_activitiy')
    """
    return re.sub(r"[^0-9a-z+.]+", "_", str(name).lower()).strip("_") or "none"


def first(row: Mapping[str, Any], keys: Iterable[str]) -> Any:
    """The value of the first of the keys that the row has, else None."""
    return next((row[key] for key in keys if key in row), None)


def column(some: Sequence[Row], names: Sequence[str], path: Path, what: str) -> str:
    """The first of the keys that any row has. Raises `BadData` naming the file, the keys and what its rows have."""
    found = next((key for key in names if any(key in row for row in some)), None)
    if found is None:
        own = held(dict.fromkeys(key for row in some[:9] for key in row))
        raise BadData(f"{path}: no row has a key for {what}: one of {keys.some(names)}. They have {own}")
    return found


def judged(some: Sequence[Row], found: Scored) -> list[Row]:
    """The rows without those that `isthmus judge` marks as not judged, which are unscored for the reason there."""
    for number, row in enumerate(some, 1):
        if "unjudged" in row:
            name = first(row, IDS)
            found.unscored[text(number if name is None else name)] = text(row["unjudged"])
    return [row for row in some if "unjudged" not in row]


def by(*keys: Sequence[str]) -> Join:
    """A way to match: by the first key that a row has of each group, as `by(IDS)` or `by(IMAGES, ["question"])`."""

    def name(row: Row) -> str | None:
        found = [first(row, group) for group in keys]
        return None if None in found else " | ".join(identity(one) for one in found)

    return name


def pairs(
    predictions: Path,
    truths: Sequence[Row] | None,
    found: Scored,
    *,
    said: Sequence[str] = SAID,
    truth: Sequence[str] = TRUTHS,
    joins: Sequence[Join] = (by(IDS),),
    pattern: str = "*",
) -> list[Pair]:
    """Each question with its answer; those that have none go into `found.unscored`.

    Args:
        predictions: a file or a folder.
        truths: rows of the references; without, the rows of predictions hold the truth as well.
        found: takes what is not scored, and a note of answers to no question.
        said: keys of the answer.
        truth: keys of the truth, of which rows of predictions must have one where there are no `truths`.
        joins: ways to match, the first that applies; else by the order, if there are as many.
        pattern: of a folder's files.

    Raises:
        BadData: for rows without such keys, for an id that stands twice, for files that do not belong together.
    """
    own = records(predictions, pattern)
    key = column(own, said, predictions, "the answer")
    if truths is None:
        column(own, [one for one in truth if one != key], predictions, "the truth, and there are no --references")
        names = _names(own, joins) or [str(i) for i in range(len(own))]
        both = list(zip(names, own, own, strict=True))
    else:
        both = _matched(own, truths, joins, predictions, found)
    missing = [name for name, _, row in both if key not in row]
    found.unscored |= dict.fromkeys(missing, NO_ANSWER)
    return [Pair(name, row, answer, text(answer[key]), key) for name, row, answer in both if key in answer]


def _names(some: Sequence[Row], joins: Sequence[Join]) -> list[str] | None:
    """Names of rows by the first way that gives each its own."""
    for join in joins:
        names = [join(row) for row in some]
        if None not in names and len(set(names)) == len(names):
            return [str(name) for name in names]
    return None


def _matched(
    own: Sequence[Row], truths: Sequence[Row], joins: Sequence[Join], path: Path, found: Scored
) -> list[tuple[str, Row, Row]]:
    """Rows of truths with those of answers, in the order of the truths."""
    seen = ""
    for join in joins:
        names, others = [join(row) for row in truths], [join(row) for row in own]
        if None in names or None in others or len(set(names)) < len(names):
            continue
        if not set(names) & set(others):
            seen = f" (of the predictions {_some(others)}; of the references {_some(names)})"
            continue
        answers: dict[str | None, Row] = {}
        for number, (name, row) in enumerate(zip(others, own, strict=True), 1):
            if name in answers:
                raise BadData(f"{path}, row {number}: the id {name} stands twice")
            answers[name] = row
        found.unscored |= {str(name): NO_ANSWER for name in names if name not in answers}
        if strange := len(answers.keys() - set(names)):
            found.notes.append(f"{strange:,} predictions answer no question of the references and are left out")
        return [(str(n), row, answers[n]) for n, row in zip(names, truths, strict=True) if n in answers]
    if len(own) != len(truths) or seen:
        raise BadData(
            f"{path} has {len(own):,} answers, and the references {len(truths):,} questions, and no id is in both"
            f"{seen}: are these files of the same split?"
        )
    found.notes.append("answers and questions have no id in common and are matched by their order")
    return [(str(i), row, answer) for i, (row, answer) in enumerate(zip(truths, own, strict=True))]


def _some(names: Sequence[str | None]) -> str:
    return ", ".join(str(name) for name in names[:3]) + (", ..." if len(names) > 3 else "")
