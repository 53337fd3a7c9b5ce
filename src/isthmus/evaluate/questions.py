"""Questions of a benchmark, as its authors ask them, from its own folder."""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from isthmus.errors import BadData
from isthmus.evaluate.files import Row
from isthmus.registry import constants
from isthmus.types import Image, Medium

PLACE = "ISTHMUS_BENCHMARKS"  # the folder of benchmarks' folders
HUB = "hub"  # in place of a folder: fetch it
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
LETTER = "Answer with the option's letter from the given choices directly."  # LLaVA-1.5's, which most papers ask with
SHORT = "Answer the question using a single word or phrase."  # likewise


@dataclass(frozen=True)
class Question:
    """One question.

    Args:
        id: its name in the benchmark, as no other has it.
        prompt: what is asked, up to the options.
        media: stand before the text, in this order.
        options: what may be answered; none where any text may be.
        listed: whether options stand in the prompt, "A. a dog", and a letter is the answer; else the option's text is.
        after: what stands behind the options, such as how to answer.
        truth: the letter or the text; empty where it is not public or there are several.
        parts: what it belongs to, as a category.
        image: what it shares with other questions; by default its media's name.
        row: what the benchmark's form of predictions keeps of it.
        longest: tokens of an answer.
        form: of an option in the prompt, with its letter and its text.
    """

    id: str
    prompt: str
    media: tuple[Medium, ...] = ()
    options: tuple[str, ...] = ()
    listed: bool = True
    after: str = ""
    truth: str = ""
    parts: tuple[str, ...] = ()
    image: str = ""
    row: Row = field(default_factory=dict, hash=False)
    longest: int = 16
    form: str = "{}. {}"

    @property
    def text(self) -> str:
        """All that is asked.

        >>> print(Question("1", "Which?", options=("a dog", "a cat"), after=LETTER).text)
        Which?
        A. a dog
        B. a cat
        Answer with the option's letter from the given choices directly.
        """
        shown = [self.form.format(letter, option) for letter, option in zip(LETTERS, self.options, strict=False)]
        return "\n".join(part for part in (self.prompt, *(shown if self.listed else ()), self.after) if part)

    @property
    def answers(self) -> tuple[str, ...]:
        """What may be answered: the letters of options that are listed, else the options.

        >>> Question("1", "Which?", options=("a dog", "a cat")).answers
        ('A', 'B')
        """
        return tuple(LETTERS[: len(self.options)]) if self.listed else self.options

    def rotated(self, by: int) -> Question:
        """The same question with its options moved on by so many places (CircularEval's rotations).

        >>> Question("1", "Which?", options=("a dog", "a cat", "a cow"), truth="A").rotated(1).options
        ('a cat', 'a cow', 'a dog')
        """
        moved = self.options[by:] + self.options[:by]
        truth = LETTERS[(LETTERS.index(self.truth) - by) % len(moved)] if self.truth else ""
        return replace(self, id=f"{self.id} rotated by {by}", options=moved, truth=truth)


def place(benchmark: str, data: str | Path | None = None) -> Path:
    """The folder of a benchmark's files: `data`/NAME, or `data` itself where it is called so or holds what it should.

    Args:
        data: a folder; `hub` fetches the benchmark's repository; by default what `ISTHMUS_BENCHMARKS` names.

    Raises `BadData` where it is not there, with what belongs in it and where to get it.
    """
    own = constants("isthmus.evaluate.benchmarks", benchmark)
    layout = own.get("DATA", {})
    if not layout and "GET" in own:  # it makes what it asks about
        return Path()
    if str(data) == HUB:
        return _fetched(benchmark, own.get("HUB"), own["GET"])
    root = Path(data or os.environ.get(PLACE, "benchmarks")).expanduser()
    if (root / benchmark).is_dir():
        return root / benchmark
    files = [name for name in layout if name not in ("images", "val2014")]  # which may be any benchmark's
    if root.is_dir() and (root.name == benchmark or any(any(root.glob(name)) for name in files)):
        return root
    told = "".join(f"\n  {name}  {what}" for name, what in layout.items())
    hub = f", or --data hub fetches {own['HUB']}" if own.get("HUB") else ""
    raise BadData(
        f"{benchmark}: no folder {root / benchmark}. Put its files there (or name another folder with --data or "
        f"{PLACE}):{told}\nGet it: {own['GET']}{hub}"
    )


def absent(questions: Sequence[Question]) -> list[Path]:
    """The files that questions show and that are not there, one for each question that lacks any."""
    found = []
    for own in questions:
        files = [medium.source for medium in own.media if isinstance(medium.source, Path)]
        found += [file for file in files if not file.exists()][:1]
    return found


def _fetched(benchmark: str, repository: str | None, get: str) -> Path:
    if repository is None:
        raise BadData(f"{benchmark} is on no hub in a form that is read here. Get it: {get}")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(repository, repo_type="dataset"))
    except (OSError, HfHubHTTPError, LocalEntryNotFoundError) as error:
        raise BadData(
            f"{benchmark}: {repository} could not be fetched ({' '.join(str(error).split())[:200]}). Get it: {get}"
        ) from error


def one(folder: Path, *patterns: str) -> Path:
    """The first file of a folder that fits one of the patterns; `BadData` names them where none does."""
    for pattern in patterns:
        if found := sorted(folder.glob(pattern)):
            return found[0]
    raise BadData(f"{folder}: none of {', '.join(patterns)} in this folder")


def picture(value: object, folder: Path, where: str = "") -> Image:
    """The image of a cell: a path below `folder`, base64 (MMBench's sheets), bytes, or both as `datasets` writes them.

    Raises `BadData`, naming `where`, for a cell that holds none of them. A file need not be there (`absent`).
    """
    if isinstance(value, Mapping):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, bytes):
        return Image(value)
    if not isinstance(value, str) or not value:
        raise BadData(f"{where or folder}: no picture, but {value!r}")
    if len(value) < 256:
        return Image(inside(folder, [value], where or str(folder)))
    try:
        return Image(base64.b64decode(value, validate=True))
    except binascii.Error as error:
        raise BadData(f"{where or folder}: a picture in base64 that cannot be read ({error})") from error


def inside(folder: Path, names: Iterable[str], where: str) -> Path:
    """The first of the files that is there, else the first. Raises `BadData` for a name that leads out of the folder.

    Links that lie in the folder may lead anywhere.
    """
    tried = [folder / name for name in names]
    if not tried:
        raise BadData(f"{where}: no name of a file in {folder}")
    if strange := [path for path in tried if not Path(os.path.abspath(path)).is_relative_to(os.path.abspath(folder))]:
        raise BadData(f"{where}: {strange[0]} leads out of {folder}")
    return next((path for path in tried if path.is_file()), tried[0])


def lettered(row: Mapping[str, Any]) -> tuple[str, ...]:
    """The options of a row in columns A, B, C, ..., up to the first that is empty.

    >>> lettered({"A": "a dog", "B": "a cat", "C": None})
    ('a dog', 'a cat')
    """
    return tuple(_filled(row))


def _filled(row: Mapping[str, Any]) -> Iterator[str]:
    for letter in LETTERS:
        cell = row.get(letter)
        if cell is None or cell != cell or str(cell).strip() in ("", "nan"):
            return
        yield str(cell).strip()


def numbered(questions: Sequence[Question]) -> Sequence[Question]:
    """The questions; raises `BadData` for none at all, and where two have one id."""
    if not questions:
        raise BadData("no questions in this folder")
    seen: set[str] = set()
    for own in questions:
        if own.id in seen:
            raise BadData(f"the id {own.id} stands twice")
        seen.add(own.id)
    return questions
