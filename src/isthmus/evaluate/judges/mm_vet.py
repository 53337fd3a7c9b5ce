"""Grades from 0 to 1 as MM-Vet takes them, for `isthmus score mm-vet`.

The words are Isthmus's own. MM-Vet's published figures are of its authors' prompt with its seven examples and of GPT-4
(Yu et al., 2023, arXiv:2308.02490, table 1): give that prompt with --rubric-file to compare with them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

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
    """The file of grades of MM-Vet's evaluator, with why there is none where there is none.

    >>> written([{"id": "v1_0", "values": [0.5], "judges": ["gpt"]}, {"id": "v1_1", "values": [], "unjudged": "hung"}])
    '{"v1_0": {"model": ["gpt"], "content": ["0.5"], "score": [0.5]}, "v1_1": {"unjudged": "hung"}}'
    """
    told: dict[str, Any] = {}
    for row in rows:
        values: Any = row["values"]
        own = {"model": row.get("judges"), "content": [f"{one:g}" for one in values], "score": values}
        told[str(row["id"])] = own if values else {"unjudged": row["unjudged"]}
    return json.dumps(told)
