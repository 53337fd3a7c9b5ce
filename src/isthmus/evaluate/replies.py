"""What a server has answered of a shard that is not done: each reply is written down as it comes.

A shard's own file is there whole or not at all; without this, a run that is killed would ask, and pay for, replies that
it had already. A reply that may come better at another try is not kept.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from isthmus.evaluate import sheet
from isthmus.evaluate.models import Said, Streams
from isthmus.evaluate.questions import Question

ENDING = ".replies"


def answers(path: Path, model: Streams, questions: Sequence[Question]) -> list[Said]:
    """What the model says to each question; what the file holds is not asked again, and what comes is added to it."""
    said = dict(_held(path))
    asked = [own for own in questions if own.id not in said]
    if asked and path.parent.is_dir():
        with path.open("a", encoding="utf-8", errors="backslashreplace") as file:
            for number, one in model.stream(asked):
                said[asked[number].id] = one
                if not one.again:
                    file.write(json.dumps(sheet.line(asked[number], one), ensure_ascii=False) + "\n")
                    file.flush()
    elif asked:  # on another machine than the folder
        said |= {asked[number].id: one for number, one in model.stream(asked)}
    return [said[own.id] for own in questions]


def _held(path: Path) -> Iterator[tuple[str, Said]]:
    """The whole lines of a file; the last one may have been torn off, and is cut off."""
    if not path.is_file():
        return
    whole, _, torn = path.read_bytes().decode("utf-8", errors="replace").rpartition("\n")
    if torn:
        path.write_text(f"{whole}\n" if whole else "", encoding="utf-8")
    for line in whole.split("\n") if whole else ():
        own = json.loads(line)
        yield own["id"], sheet.said(own)
