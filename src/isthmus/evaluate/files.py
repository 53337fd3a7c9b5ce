"""Reading the files in which benchmarks and authors publish predictions and references, whatever their form.

JSON, JSON lines, objects that only commas part, comma- and tab-separated values, Excel's sheets and Parquet all become
the same: rows, each a dictionary. What a file is, is told by what is in it; the name decides only between commas and
tabs, and for XLSX and Parquet.
"""

from __future__ import annotations

import csv
import io
import json
import re
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from isthmus.errors import BadData
from isthmus.evaluate.keys import SAID, some

Row = dict[str, Any]
TABLES = {".csv": ",", ".tsv": "\t", ".txt": "\t"}
COLUMNS = {
    "predictions": "prediction", "preds": "prediction", "hypotheses": "hypothesis", "hyps": "hypothesis",
    "references": "reference", "refs": "reference", "targets": "target", "labels": "label", "truths": "truth",
    "ground_truths": "ground_truth", "ids": "id", "questions": "question", "answers": "answer",
    "responses": "response", "outputs": "output",
}  # fmt: skip
LISTS = {"results", "data", "annotations", "rows", "samples", "predictions", "questions", "images", "examples"}
COMMAS = re.compile(r'"(?:\\.|[^"\\])*"|,(?=\s*[}\]])')  # texts, so that none in them is found, and commas too many
SHEETS = (".xlsx", ".xlsm")
HUGE = min(sys.maxsize, 2**31 - 1)  # characters of a field: tables hold pictures in base64


def document(path: Path) -> Any:
    """What a JSON file holds; of JSON lines, or objects with or without commas between them, a list.

    A comma before a closing bracket is overlooked, and the batches of a pipeline of transformers are its outputs.

    Raises `BadData` naming the file and the line for what is not JSON, and for an empty file.
    """
    text = _text(path)
    try:
        found = _values(text, path)
    except BadData:
        if (mended := COMMAS.sub(lambda match: " " if match[0] == "," else match[0], text)) == text:
            raise
        found = _values(mended, path)
    if not found:
        raise BadData(f"{path}: the file is empty")
    alone = len(found) == 1 and not (path.suffix == ".jsonl" and isinstance(found[0], dict))
    return _outputs(found[0] if alone else found)


def _values(text: str, path: Path) -> list[Any]:
    """The values of a text, one behind the other."""
    decoder = json.JSONDecoder()
    found: list[Any] = []
    place = _next(text, 0)
    while place < len(text):
        try:
            value, place = decoder.raw_decode(text, place)
        except (json.JSONDecodeError, RecursionError) as error:
            at = getattr(error, "pos", place)
            what = getattr(error, "msg", "it is nested too deeply")
            raise BadData(f"{path}, line {text.count(chr(10), 0, at) + 1}: not JSON: {what}") from error
        found.append(value)
        place = _next(text, place)
    return found


def _outputs(found: Any) -> Any:
    """What pipelines of transformers give, as rows: of each sample a list, of one output, or of labels with scores.

    >>> _outputs([[{"generated_text": "a dog"}], [{"score": 0.1, "answer": "no"}, {"score": 0.9, "answer": "yes"}]])
    [{'generated_text': 'a dog'}, {'score': 0.9, 'answer': 'yes'}]
    >>> _outputs([{"generated_text": [{"role": "user", "content": "?"}, {"role": "assistant", "content": "Yes"}]}])
    [{'generated_text': 'Yes'}]
    """
    return [_output(one) for one in found] if isinstance(found, list) else found


def _output(one: Any) -> Any:
    if isinstance(one, list) and one and all(isinstance(own, dict) for own in one):
        if len(one) == 1:
            return _output(one[0])
        if all({"label", "score"} == own.keys() for own in one):
            return {"scores": one}
        if all({"answer", "score"} <= own.keys() for own in one):
            return max(one, key=lambda own: float(own["score"]))
    if isinstance(one, dict) and isinstance(said := one.get("generated_text"), list) and said:
        last = said[-1]
        return one | {"generated_text": last.get("content", "") if isinstance(last, dict) else last}
    return one


def rows(path: Path) -> list[Row]:
    """The rows of a file: of JSON its list, of one list below a single key that list, of a table its lines.

    Raises `BadData` for a file that holds anything else, naming it.
    """
    if path.suffix.lower() in SHEETS:
        found: Any = list(_sheet(path))
    elif path.suffix.lower() == ".parquet":
        found = _parquet(path)
    elif (ending := path.suffix.lower()) in TABLES and not (text := _text(path)).lstrip().startswith(("{", "[")):
        found = list(_table(path, text, _delimiter(text, ending)))
    else:
        found = document(path)
    if isinstance(found, Mapping):
        lists = [] if single(found) else [value for value in found.values() if isinstance(value, list)]
        found = columns(found) or (lists[0] if len(lists) == 1 else [dict(found)])
    if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
        raise BadData(f"{path}: expected a list of objects, one for each sample")
    if not found:
        raise BadData(f"{path}: the file is empty, it has no rows")
    return found


def columns(found: Mapping[str, Any]) -> list[Row]:
    """The rows of an object of lists, one for each column; none where it is no such object.

    Raises `BadData` for lists of different lengths.

    >>> columns({"predictions": ["a dog", "a cat"], "references": ["a dog", "a cow"]})
    [{'prediction': 'a dog', 'reference': 'a dog'}, {'prediction': 'a cat', 'reference': 'a cow'}]
    """
    names = {COLUMNS.get(str(key).lower(), ""): value for key, value in found.items()}
    lengths = {len(value) if isinstance(value, list) else -1 for value in names.values()}
    if "" in names or len(names) < 2 or -1 in lengths or lengths == {0}:
        return []
    if len(lengths) > 1:
        told = ", ".join(f"{len(value):,} {key}" for key, value in found.items())
        raise BadData(f"the lists have different lengths: {told}")
    return [dict(zip(names, cells, strict=True)) for cells in zip(*names.values(), strict=True)]


def single(found: Mapping[str, Any]) -> bool:
    """Whether an object is one row, the only one of a file, whatever lists are in it.

    >>> single({"question_id": 1, "prediction": "a dog", "answers": ["dog"]}), single({"version": 1, "data": []})
    (True, False)
    """
    lists = {str(key).lower() for key, value in found.items() if isinstance(value, list)}
    plain = {str(key).lower() for key in found} - lists
    return not lists & LISTS and bool(plain & {*SAID, "question_id", "image_id", "question", "caption"})


def flat(row: Mapping[str, Any]) -> Row:
    """A row with what lies in its `doc`, a sample that an evaluation harness logs, beside what the harness adds."""
    doc = row.get("doc")
    if not isinstance(doc, Mapping):
        return dict(row)
    return {str(key).lower(): value for key, value in doc.items()} | {key: row[key] for key in row if key != "doc"}


def identity(value: Any) -> str:
    """An id as text: the 12 that a table of numbers has as 12.0.

    >>> identity(12.0), identity(" 12.0 "), identity("a.0"), identity("1.50")
    ('12', '12', 'a.0', '1.50')
    """
    found = str(value[0] if isinstance(value, list) and value else value).strip()
    return found.removesuffix(".0") if re.fullmatch(r"\d+\.0", found) else found


def of_kit(path: Path, some: Sequence[Mapping[str, Any]]) -> bool:
    """Whether rows are those of VLMEvalKit's sheets, which has rules of its own for what authors read otherwise."""
    sheet = path.suffix.lower() in (*SHEETS, ".tsv", ".csv")
    return sheet and bool(some) and all({"index", "prediction"} <= {str(key).lower() for key in row} for row in some)


def by_id(path: Path, *, ids: Sequence[str], texts: Sequence[str]) -> dict[str, Any]:
    """Values by id, of `{id: value}`, or of rows that have one of `ids` and one of `texts` as keys.

    Raises `BadData` for rows without these keys, and for an id that stands twice.
    """
    if path.suffix.lower() not in (*SHEETS, *TABLES):
        found = document(path)
        if isinstance(found, Mapping) and not _has(found, ids, texts):
            lists = [value for value in found.values() if isinstance(value, list) and value]
            if not (len(lists) == 1 and _has(lists[0][0], ids, texts)):
                return {str(key): value for key, value in found.items()}
    answers: dict[str, Any] = {}
    for number, row in enumerate(rows(path), 1):
        name = identity(pick(row, ids, path, number))
        if name in answers:
            raise BadData(f"{path}, row {number}: the id {name} stands twice")
        answers[name] = pick(row, texts, path, number)
    return answers


def pick(row: Mapping[str, Any], keys: Sequence[str], path: Path, number: int) -> Any:
    """The value of the first of `keys` that a row has. Raises `BadData` naming file, row, keys and what it has."""
    for key in keys:
        if key in row:
            return row[key]
    raise BadData(f"{path}, row {number}: none of the keys {some(keys)}. It has {held(row)}")


def held(row: Mapping[str, Any]) -> str:
    """A row's keys, for a message."""
    return ", ".join(str(key) for key in row if not str(key).startswith("_")) or "none"


def matched(
    answers: Mapping[str, Any], truths: Mapping[str, Any], unscored: dict[str, str], reason: str = "no prediction"
) -> list[str]:
    """The ids of both, in the order of the truths; those without an answer go into `unscored`.

    Raises `BadData` when no id is in both: these are then the files of two benchmarks, or of two splits.
    """
    both = [name for name in truths if name in answers]
    if truths and not both:
        raise BadData(
            f"no id of the predictions ({_some(answers)}) is among those of the references ({_some(truths)}): are these"
            " files of the same split?"
        )
    unscored |= {name: reason for name in truths if name not in answers}
    return both


def folder(path: Path, read: Callable[[Path], list[Row]] = rows, pattern: str = "*") -> list[Row]:
    """The rows of a file, or of all files of a folder, each with the file's name under `_file`, without its ending."""
    if not path.is_dir():
        return [row | {"_file": path.stem} for row in read(path)]
    files = sorted(file for file in path.glob(pattern) if file.is_file() and not file.name.startswith("."))
    if not files:
        raise BadData(f"{path}: no file {pattern} in this folder")
    return [row | {"_file": file.stem} for file in files for row in read(file)]


def _has(row: Any, ids: Sequence[str], texts: Sequence[str]) -> bool:
    """Whether it is a row with an id and a text."""
    return isinstance(row, Mapping) and bool(set(ids) & row.keys() and set(texts) & row.keys())


def _some(names: Mapping[str, Any]) -> str:
    return ", ".join(list(names)[:3]) + (", ..." if len(names) > 3 else "")


def _text(path: Path) -> str:
    """Raises `BadData` for what is not text; a byte order mark is left out."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadData(f"{path}: not text in UTF-8 (byte {error.start})") from error
    except FileNotFoundError as error:
        raise BadData(f"{path}: no such file") from error
    except IsADirectoryError as error:
        raise BadData(f"{path}: a folder, where a file is expected") from error


def _next(text: str, place: int) -> int:
    """Where the next value begins: behind white space and commas."""
    while place < len(text) and text[place] in " \t\r\n,":
        place += 1
    return place


def _delimiter(text: str, ending: str) -> str:
    """What parts the columns: as the name says, or in .csv what Excel writes where a comma is the decimal point."""
    head = text.split("\n", 1)[0]
    return next((own for own in ",;\t" if own in head), ",") if ending == ".csv" else TABLES[ending]


def _table(path: Path, text: str, delimiter: str) -> Iterator[Row]:
    csv.field_size_limit(HUGE)
    lines = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)  # other separators lie within a field
    if not lines.fieldnames:
        raise BadData(f"{path}: the file is empty")
    for row in lines:
        if None in row or None in row.values():
            raise BadData(
                f"{path}, line {lines.line_num}: not as many fields as the first line, {len(lines.fieldnames)}"
            )
        yield row


def _parquet(path: Path) -> list[Row]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise BadData(f"{path}: Parquet needs more: pip install 'isthmus[data]' ({error})") from error
    try:
        return list(pyarrow.parquet.read_table(path).to_pylist())
    except (OSError, pyarrow.ArrowException) as error:
        raise BadData(f"{path}: not a Parquet file ({error})") from error


def _sheet(path: Path) -> Iterator[Row]:
    """The rows of a workbook's first sheet, whose first row names the columns; empty cells are left out."""
    import openpyxl

    try:
        workbook = openpyxl.load_workbook(path, read_only=True, data_only=True)
    except (OSError, KeyError, ValueError, zipfile.BadZipFile, openpyxl.utils.exceptions.InvalidFileException) as error:
        raise BadData(f"{path}: not an Excel workbook ({error})") from error
    lines = workbook.worksheets[0].iter_rows(values_only=True)
    names = [str(name) for name in next(lines, ())]
    if not names:
        raise BadData(f"{path}: the sheet is empty")
    for line in lines:
        row = {name: value for name, value in zip(names, line, strict=False) if value is not None}
        if row:
            yield row
