"""Two scores from 1 to 10, of the reference's answer and of the model's, for `isthmus score llava-bench`.

The words are Isthmus's own. LLaVA-Bench's published figures are of its authors' prompt and of GPT-4, to which the
picture is described (Liu et al., 2023, arXiv:2304.08485): give that prompt with --rubric-file to compare with them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from isthmus.evaluate.judges import Unread

ABOUT = "LLaVA-Bench's two scores, 1 to 10, of a reference's answer and a model's; for isthmus score llava-bench"
KIND = "pair"
SCORES = True  # each of the two has one
HIGHEST = 10
ENDING = "jsonl"  # of the file that is written
LONGEST = 600
SYSTEM = "You rate two assistants' answers to a question about a picture: helpful, relevant, accurate, detailed."
PROMPT = """
The question, and what is known of the picture:

{question}

{context}

The first assistant's answer:

{first}

The second assistant's answer:

{second}

Write on the first line two numbers from 1 to 10 and nothing else, the first assistant's score and the second's, with a
space between them. Then say why. Neither order nor length is a merit.
"""
LINE = re.compile(r"\s*(\d+(?:\.\d+)?)[\s,]+(\d+(?:\.\d+)?)\s*", re.ASCII)


def read(reply: str) -> tuple[float, float]:
    """Both scores, on the first line.

    >>> read("8 6.5\\nThe second overlooks the sign.")
    (8.0, 6.5)
    """
    found = LINE.fullmatch(reply.strip().split("\n")[0])
    if not found or not all(1 <= float(one) <= HIGHEST for one in found.groups()):
        raise Unread(f"the first line is not two numbers from 1 to {HIGHEST}")
    return float(found[1]), float(found[2])


def written(rows: Sequence[Mapping[str, object]]) -> str:
    r"""Reviews, a line for each question, as the authors' script writes them: the reference's score first.

    Of several reviews of one question, as in both orders, the scores are means, which undoes a judge's love of a place.

    >>> own = {"id": "0", "values": [[8.0, 6.0], [6.0, 6.0]], "replies": ["8 6", "6 6"], "judges": ["gpt-4"] * 2}
    >>> written([own | {"category": "conv"}])
    '{"question_id": "0", "category": "conv", "content": "8 6\\n\\n6 6", "tuple": [7.0, 6.0]}\n'
    """
    lines = []
    for row in rows:
        values: Any = row["values"]
        replies: Any = row["replies"]
        own: dict[str, Any] = {"question_id": row["id"], "category": row.get("category", "")}
        if values:
            pair = [fmean(one[place] for one in values) for place in (0, 1)]
            own |= {"content": "\n\n".join(replies), "tuple": pair}
        else:
            own["unjudged"] = row["unjudged"]
        lines.append(json.dumps(own) + "\n")
    return "".join(lines)
