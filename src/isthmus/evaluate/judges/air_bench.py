"""Two marks from 1 to 10, of the reference and of the model's answer to a sound, for `isthmus score air-bench`.

The words are Isthmus's own. AIR-Bench's published figures are of its authors' prompt and of GPT-4, to which the sound
is described (Yang et al., 2024, arXiv:2402.07729): give that prompt with --rubric-file to compare with them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from isthmus.evaluate.judges import Unread
from isthmus.evaluate.judges.llava_bench import read as two

ABOUT = "AIR-Bench's two marks, 1 to 10, of the reference and of a model's answer; for isthmus score air-bench"
KIND = "pair"
SCORES = True  # each of the two has one
HIGHEST = 10
ENDING = "jsonl"  # of the file that is written
LONGEST = 300
SYSTEM = "You rate two assistants' answers to a question about a sound: useful, relevant, accurate, comprehensive."
PROMPT = """
The question, and what is known of the sound, which you cannot hear:

{question}

{context}

The first assistant's answer:

{first}

The second assistant's answer:

{second}

Write on the first line two whole numbers from 1 to 10 and nothing else, the first assistant's mark and the second's,
with a space between them. Then say why. Neither order nor length is a merit.
"""


def read(reply: str) -> tuple[float, float]:
    """Both marks, on the first line.

    >>> read("8 6\\nThe second overlooks the siren.")
    (8.0, 6.0)
    """
    found = two(reply)
    if not all(one.is_integer() for one in found):
        raise Unread("the first line is not two whole numbers from 1 to 10")
    return found


def written(rows: Sequence[Mapping[str, object]]) -> str:
    """A line for each review, the reference's mark first; a question that was judged in both orders has two.

    >>> own = {"values": [[8.0, 6.0]], "row": {"uniq_id": 4, "task_name": "speech_QA", "path": "a.wav"}}
    >>> written([own])
    '{"uniq_id": 4, "task_name": "speech_QA", "path": "a.wav", "gpt-score": "8 6"}\\n'
    """
    lines = []
    for row in rows:
        values: Any = row["values"]
        own: Any = row["row"]
        told: list[dict[str, Any]] = [{"gpt-score": f"{reference:.0f} {model:.0f}"} for reference, model in values]
        lines += [json.dumps(own | one) + "\n" for one in told or [{"unjudged": row["unjudged"]}]]
    return "".join(lines)
