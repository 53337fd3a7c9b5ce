"""Text benchmarks' questions with what a model said, whatever file they come in, and however the two are told to match.

Rows belong together by their ids, else by the question's text, else by their order where there are as many of both. The
samples that lm-evaluation-harness logs hold the question (`doc`), its truth and all that the model said (`resps`).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from isthmus.errors import BadData
from isthmus.evaluate import keys
from isthmus.evaluate.benchmarks._rows import table, text
from isthmus.evaluate.files import Row, document, flat, identity, matched
from isthmus.evaluate.scored import Scored

IDS = ("question_id", "unique_id", "task_id", "id", "doc_id", "index", "idx", "sample_id", "qid")
QUESTIONS = ("question", "problem", "prompt", "input", "inputs")
SAID = keys.said(
    *("prediction", "predicted_answer", "pred", "response", "resps", "completion", "output", "model_output"),
    *(
        "generation",
        "generated_text",
        "model_answer",
        "solution_text",
        "outputs",
        "responses",
        "filtered_resps",
        "text",
    ),
)


class Task(NamedTuple):
    """One question: its id, what was said, its row, the truth among it, and the row of predictions by itself."""

    id: str
    said: str | None
    row: Row
    given: Row | None = None


def loaded(path: Path, value: str = "prediction", columns: Sequence[str] = ()) -> list[Row]:
    """The rows of a file, or of all files of a folder and the folders in it; each knows its file's name (`_file`).

    `value` names the texts of a file `{id: text}`, and `columns` those of a table whose first line has no names.
    """
    if not path.is_dir():
        return [flat(row) | {"_file": path.name} for row in _read(path, value, columns)]
    files = sorted(file for file in path.rglob("*") if file.is_file() and not file.name.startswith("."))
    every = [(file.relative_to(path).as_posix(), row) for file in files for row in _read(file, value, columns)]
    if not every:
        raise BadData(f"{path}: no file with rows in this folder")
    return [flat(row) | {"_file": name} for name, row in every]


def _read(path: Path, value: str, columns: Sequence[str]) -> list[Row]:
    """The rows of one file; a single object that holds a question is one row."""
    if path.suffix == ".tsv" and columns:
        lines = [line.strip().split("\t") for line in path.read_text(encoding="utf-8-sig").split("\n") if line.strip()]
        if not any(cell.lower() in columns for cell in lines[0]) and {len(cells) for cells in lines} == {len(columns)}:
            return [dict(zip(columns, cells, strict=True)) for cells in lines]
    if path.suffix == ".json":
        found = document(path)
        if isinstance(found, dict) and {key.lower() for key in found} & {*QUESTIONS, "doc"}:
            return [{key.lower(): cell for key, cell in found.items()}]
    return table(path, value)


def tasks(
    predictions: Path,
    references: Path | None,
    truths: Sequence[str],
    found: Scored,
    said: Sequence[str] = SAID,
    columns: Sequence[str] = (),
) -> list[Task]:
    """The questions in the order of the references; what has no answer goes into `found.unscored`.

    Args:
        predictions: a file or a folder of rows.
        references: likewise; None where rows of predictions hold the truth.
        truths: the keys under which a truth can stand, the first that is there counts.
        found: takes what is unscored, and notes.
        said: the keys under which an answer can stand; where references are given, `answer` too, last.
        columns: of references that are tables without names.
    """
    answers = _once(loaded(predictions))
    if references is None:
        _need(answers, truths, predictions, "a truth (or give --references)")
        names = _ids(answers) or [str(number) for number in range(len(answers))]
        pairs = [(name, row, row) for name, row in zip(names, answers, strict=True)]
    else:
        asked = loaded(references, "answer", columns)
        _need(asked, truths, references, "a truth")
        pairs = _paired(answers, asked, (predictions, references), found)
        said = (*said, "answer", "solution")
    spoken = [key for key in said if any(_there(row.get(key)) for _, row, _ in pairs)]
    if not spoken:
        known = ", ".join(key for key in answers[0] if not key.startswith("_"))
        raise BadData(
            f"{predictions}: no row has an answer, under one of the keys {keys.some(said)}. Row 1 has {known}"
        )
    done = []
    for name, row, truth in pairs:
        cells = [text(row[key]) for key in spoken if _there(row.get(key))]
        answer = next(filter(None, cells), "")
        if not cells:  # an answer that is empty is one
            found.unscored[name] = "no prediction"
        else:
            done.append(Task(name, answer, row | truth, row))
    return done


def _there(cell: object) -> bool:
    return cell is not None and cell == cell


def truth_of(task: Task, names: Sequence[str]) -> str:
    """The first truth under one of the keys, as text. Raises `BadData` naming the question where there is none."""
    for key in names:
        if cell := text(task.row.get(key)):
            return cell
    raise BadData(f"question {task.id}: no truth under {keys.some(names)}")


def _once(rows: list[Row]) -> list[Row]:
    """Of samples that were filtered in several ways, and logged once for each, one."""
    if not all("filter" in row and "doc_id" in row for row in rows):
        return rows
    return list({(row["_file"], row["doc_id"]): row for row in reversed(rows)}.values())[::-1]


def _need(rows: list[Row], names: Sequence[str], path: Path, what: str) -> None:
    for number, row in enumerate(rows, 1):
        if not any(text(row.get(key)) for key in names):
            known = ", ".join(key for key in row if not key.startswith("_"))
            raise BadData(f"{path}, row {number}: {what} is needed under one of {keys.some(names)}. It has {known}")


def _ids(rows: list[Row]) -> list[str]:
    """The ids of rows under the first key that all of them have; empty without one, or where files repeat them."""
    for key in IDS:
        names = [identity(text(row.get(key))) for row in rows]
        if all(names):
            several = len({row["_file"] for row in rows}) > 1
            if several and len(set(names)) < len(names):
                names = [f"{row['_file']}:{name}" for row, name in zip(rows, names, strict=True)]
            return names
    return []


Pairs = list[tuple[str, Row, Row]]


def _paired(answers: list[Row], asked: list[Row], paths: tuple[Path, Path], found: Scored) -> Pairs:
    """Each question's id, the row of its answer (empty without one) and the row of its truth."""
    given, known = _ids(answers), _ids(asked) or [str(number) for number in range(len(asked))]
    _single(known, paths[1])
    if given and set(given) & set(known):
        _single(given, paths[0])
        by_name: dict[str, Any] = dict(zip(given, answers, strict=True))
        own = dict(zip(known, asked, strict=True))
        names = matched(by_name, own, found.unscored)
        _extra(len(answers) - len(names), found)
        return [(name, by_name[name], own[name]) for name in names]
    for key in QUESTIONS:
        if all(key in row for row in answers) and any(any(other in row for other in QUESTIONS) for row in asked):
            pairs = _by_question(answers, asked, known, key, found)
            if pairs:
                return pairs
    if len(answers) != len(asked):
        raise BadData(
            f"{paths[0]} has {len(answers):,} answers and {paths[1]} {len(asked):,} questions, without ids or questions"
            f" in common ({', '.join(IDS)}); only as many of both can be matched, by their order"
        )
    found.notes.append("answers and questions were matched by their order: they have no ids in common")
    return list(zip(known, answers, asked, strict=True))


def _by_question(answers: list[Row], asked: list[Row], known: list[str], key: str, found: Scored) -> Pairs:
    """Pairs of equal questions, equal ones in their order; empty without any."""
    waiting: dict[str, list[Row]] = defaultdict(list)
    for row in answers:
        waiting[text(row[key]).strip()].append(row)
    pairs: Pairs = []
    missing = []
    for name, row in zip(known, asked, strict=True):
        question = next((text(row[other]).strip() for other in QUESTIONS if other in row), "")
        if waiting.get(question):
            pairs.append((name, waiting[question].pop(0), row))
        else:
            missing.append(name)
    if pairs:
        found.unscored |= dict.fromkeys(missing, "no prediction")
        _extra(sum(map(len, waiting.values())), found)
    return pairs


def _single(names: Sequence[str], path: Path) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise BadData(f"{path}: the id {twice[0]} stands twice ({len(twice):,} do); one answer a question is scored")


def _extra(count: int, found: Scored) -> None:
    if count:
        found.notes.append(f"{count:,} predictions are of no question of the references and were left out")
