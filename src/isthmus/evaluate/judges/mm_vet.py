"""Grades from 0 to 1 as MM-Vet takes them, for `isthmus score mm-vet`.

The words are Isthmus's own. MM-Vet's published figures are of its authors' prompt with its seven examples and of GPT-4
(Yu et al., 2023, arXiv:2308.02490, table 1): give that prompt with --rubric-file to compare with them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from isthmus.evaluate.judges import Unread, number, verdict

ABOUT = "MM-Vet's grades, 0.0 to 1.0 against the ground truth; writes what isthmus score mm-vet reads"
KIND = "reference"
HIGHEST = 1
ENDING = "json"  # of the file that is written
LONGEST = 200
SYSTEM = "You grade answers to questions about pictures against the truth, strictly and by their content."
PROMPT = """
The question, the truth, and a model's answer. In the truth <AND> joins what is all needed, and <OR> what is enough
alone.

{question}

{reference}

{answer}

How much of the truth does the answer give? 0.0 for nothing of it, 1.0 for all of it, and tenths between these for a
part, as 0.5 for one of two needed things. Other words for the same are right, and what is said beside it is no matter.
End with one line

VERDICT: X
"""


def read(reply: str) -> float:
    """The grade; of a reply that is a number alone, that number, as the authors' prompt has it.

    >>> read("VERDICT: 0.5"), read(" 0.3 ")
    (0.5, 0.3)
    """
    try:
        return number(reply.strip(), HIGHEST)
    except Unread:
        return number(verdict(reply), HIGHEST)


def written(rows: Sequence[Mapping[str, object]]) -> str:
    """The file of grades of MM-Vet's evaluator; what was not judged is not in it.

    >>> written([{"id": "v1_0", "values": [0.5], "replies": ["0.5"], "judges": ["gpt-4"]}])
    '{"v1_0": {"model": ["gpt-4"], "content": ["0.5"], "score": [0.5]}}'
    """
    return json.dumps(
        {
            str(row["id"]): {"model": row["judges"], "content": row["replies"], "score": row["values"]}
            for row in rows
            if row["values"]
        }
    )
