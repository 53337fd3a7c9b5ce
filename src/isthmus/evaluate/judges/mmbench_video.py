"""Marks from 0 to 3 as MMBench-Video takes them, for `isthmus score mmbench-video`.

The words are Isthmus's own. Published figures are of the authors' prompt and of GPT-4 (Fang et al., 2024,
arXiv:2406.14515): give that prompt with --rubric-file to compare with them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from isthmus.evaluate.judges import Unread, number, verdict

ABOUT = "MMBench-Video's marks, 0 to 3 against a reference; writes what isthmus score mmbench-video reads"
KIND = "reference"
HIGHEST = 3
ENDING = "jsonl"  # of the file that is written
LONGEST = 200
SYSTEM = "You mark answers to questions about videos against a reference that is right, strictly and by their content."
PROMPT = """
The question, the reference, and a model's answer:

{question}

{reference}

{answer}

How much of the reference does the answer give? 0 for nothing or the contrary, 1 for little, 2 for most, 3 for all of
it. Other words for the same are right. End with one line

VERDICT: N
"""


def read(reply: str) -> float:
    """The mark; of a reply that is a number alone, that number.

    >>> read("VERDICT: 2"), read("3")
    (2.0, 3.0)
    """
    try:
        return number(reply.strip(), HIGHEST, whole=True)
    except Unread:
        return number(verdict(reply), HIGHEST, whole=True)


def written(rows: Sequence[Mapping[str, object]]) -> str:
    """The rows of the predictions with their marks, a line each, or why there is none.

    >>> written([{"id": "1", "values": [2.0, 3.0], "row": {"index": 1, "video": "a"}}])
    '{"index": 1, "video": "a", "score": 2.5}\\n'
    """
    lines = []
    for row in rows:
        values: Any = row["values"]
        own: Any = row["row"]
        told = {"score": fmean(values)} if values else {"unjudged": row["unjudged"]}
        lines.append(json.dumps(own | told) + "\n")
    return "".join(lines)
