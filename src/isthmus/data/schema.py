"""What the columns of a row mean: the conventions of LLaVA, ShareGPT, VQA sets, WebDataset and the hub's tables.

| columns | sample |
|---|---|
| `conversations`: [{from: human, gpt or system; value}] | a conversation, each turn seeing those before it |
| `messages`: [{role, content}] | the same; content is text, or parts of the types text, image, ... |
| `texts`: [{user, assistant}] | questions about the same media that do not see each other |
| `question`, `answer` or `answers` (the first one) | one question |
| `text`, `caption`, `txt`: a text, or several of one medium | captions; `ask` is the question |

Media: `image`, `images`, `audio`, `video`, `points`, `series` and the like, or `file_name`, or a column named like a
file's ending: one or a list of paths below the media folder, bytes, or {bytes, path}. `<image>` and its like in a text
say with which message a medium comes; there they stand before its text, as in LLaVA. Media that no text names come
first.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isthmus.data.folder import KIND_OF, QUESTION, inside
from isthmus.errors import BadData
from isthmus.types import KINDS, Sample, Slice, Turn

MARK = re.compile(rf"[ \t]*\n?<({'|'.join(KINDS)})>\n?[ \t]*")
ROLES = {"human": "user", "gpt": "assistant", "user": "user", "assistant": "assistant", "system": "system"}
CAPTIONS = ("text", "caption", "txt", "captions")
COLUMNS = {name: kind for kind in KINDS for name in (kind, f"{kind}s", f"{kind}_path", f"{kind}_file")}
COLUMNS |= {"sound": "audio", "sounds": "audio", "wav": "audio", "speech": "audio", "clip": "video"}
COLUMNS |= {ending[1:]: kind for ending, kind in KIND_OF.items() if ending != ".csv"}

Said = list[tuple[str, str]]  # role, text


@dataclass(frozen=True)
class Reading:
    """How rows are read: the folder that their paths lie in, what captions answer, whether turns see earlier ones.

    With `unanswered`, a question may have no answer, a conversation may end with the user, and media without any text
    are asked `ask`: the answer is then empty.
    """

    media: Path
    ask: str = QUESTION
    chained: bool | None = None
    columns: Mapping[str, str] | None = None  # a column's usual name -> its name here
    unanswered: bool = False

    def sample(self, row: Mapping[str, Any], name: str) -> Sample:
        """The sample in a row; `name` is its id where it has none.

        Raises `BadData` for columns of no known meaning, texts and media that do not fit, and paths outside the folder.
        """
        row = dict(row) | {usual: row.get(own) for usual, own in (self.columns or {}).items()}
        media = [self._medium(kind, value) for kind, value in _values(row)]
        own = row.get("id")
        title = name if own is None or own == "" else str(own)
        if (said := _said(row)) is not None:
            if self.unanswered and said and said[-1][0] == "user":
                said.append(("assistant", ""))
            return _conversation(title, media, said, True if self.chained is None else self.chained)
        asked = [(q, "" if a is None and self.unanswered else a, kind) for q, a, kind in _asked(row, self.ask)]
        if not asked and self.unanswered and media:
            asked = [(self.ask, "", "name")]
        turns = tuple(Turn(_plain(q, media), _plain(a, []), kind) for q, a, kind in asked)
        if not turns:
            raise BadData(f"no text to learn from among its columns {', '.join(map(str, row))}")
        return Sample(title, tuple(media), turns, chained=bool(self.chained))

    def _medium(self, kind: str | None, value: Any) -> Any:
        path = value.get("path") if isinstance(value, dict) else value
        if isinstance(value, dict) and isinstance(value.get("bytes"), bytes):
            value = value["bytes"]
        if kind is None:
            kind = KIND_OF.get(Path(str(path)).suffix.lower(), "image")
        if isinstance(value, bytes | Slice):
            return KINDS[kind](value)
        if not isinstance(path, str) or not path:
            raise BadData(f"{kind}: {str(value)[:80]!r} is no path, bytes or both")
        if "://" in path:
            raise BadData(f"{kind}: {path[:80]} is an address; media are read from the folder {self.media} only")
        if Path(path).is_absolute():
            raise BadData(f"{kind}: {path[:200]} is an absolute path; give it below the folder {self.media}")
        return KINDS[kind](inside(self.media, path))


def _values(row: Mapping[str, Any]) -> Iterator[tuple[str | None, Any]]:
    """Every medium of a row with its kind, by the order of the columns; None where its ending says it."""
    for column, value in row.items():
        kind = COLUMNS.get(column.lower())
        if value is None or value == "" or (kind is None and column != "file_name"):
            continue
        for own in value if isinstance(value, list | tuple) else [value]:
            yield kind, own


def _said(row: Mapping[str, Any]) -> Said | None:
    """Roles and texts of a conversation; None for a row that holds none."""
    for column, (who, what) in {"conversations": ("from", "value"), "messages": ("role", "content")}.items():
        if (found := row.get(column)) is None:
            continue
        if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
            raise BadData(f"{column} is a list of objects with {who} and {what}")
        said = []
        for one in found:
            keys = (who, what) if who in one else ("role", "content") if "role" in one else ("from", "value")
            role = ROLES.get(str(one.get(keys[0])))
            if role is None:
                raise BadData(f"{column}: speaker {one.get(keys[0])!r}; known: {', '.join(ROLES)}")
            said.append((role, _text(one.get(keys[1]))))
        return said
    return None


def _text(content: Any) -> str:
    """A message's text, with a mark for each medium of a list of parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, list) and all(isinstance(part, dict) for part in content):
        kinds = [str(part.get("type")).removesuffix("_url") for part in content]
        return "".join(
            str(part.get("text", "")) if kind == "text" else f"<{kind}>"
            for kind, part in zip(kinds, content, strict=True)
        )
    raise BadData(f"a message of {str(content)[:80]!r} is no text")


def _conversation(title: str, media: Sequence[Any], said: Said, chained: bool) -> Sample:
    system = ""
    if said and said[0][0] == "system":
        (_, system), *said = said
    if len(said) < 2 or len(said) % 2 or [role for role, _ in said] != ["user", "assistant"] * (len(said) // 2):
        raise BadData(f"speakers {', '.join(role for role, _ in said)}: user and assistant take turns, from user on")
    marked = [MARK.findall(text) for _, text in said]
    if any(marked[1::2]):
        raise BadData("an answer with the mark of a medium in it")
    named = [kind for kinds in marked for kind in kinds]
    left = list(media)
    shown = []
    for kind in named:
        place = next((i for i, own in enumerate(left) if own.kind == kind), None)
        if place is None:
            raise BadData(f"its text has {len(named)} marks of media, and its columns {len(media)} media that fit")
        shown.append(left.pop(place))
    if named and left:
        raise BadData(f"{len(media)} media, and its text marks {len(named)}. Mark each, or none")
    turns = tuple(
        Turn(MARK.sub("\n", question).strip(), answer.strip(), shows=len(kinds) if number and chained else 0)
        for number, ((_, question), (_, answer), kinds) in enumerate(
            zip(said[::2], said[1::2], marked[::2], strict=True)
        )
    )
    return Sample(title, (*left, *shown), turns, chained=chained and len(turns) > 1, system=system.strip())


def _asked(row: Mapping[str, Any], ask: str) -> Iterator[tuple[Any, Any, str]]:
    """Questions that do not see each other, as (question, answer, kind)."""
    if isinstance(texts := row.get("texts"), list) and texts and isinstance(texts[0], dict):
        yield from ((one.get("user"), one.get("assistant"), "chat") for one in texts)
    elif row.get("question") is not None:
        answers = row.get("answer", row.get("answers"))
        yield row["question"], answers[0] if isinstance(answers, list) and answers else answers, "chat"
    else:
        for column in CAPTIONS:
            found = row.get(column)
            for text in found if isinstance(found, list) else [found]:
                if isinstance(text, str) and text.strip():
                    yield ask, text, "name"


def _plain(text: Any, media: Sequence[Any]) -> str:
    """A text without the marks of the media that come before it."""
    if not isinstance(text, str):
        raise BadData(f"{str(text)[:80]!r} where a text is wanted")
    return MARK.sub("\n", text).strip() if media else text.strip()
