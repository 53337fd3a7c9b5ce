"""A grade from 1 to 10 for an answer to a question."""

from __future__ import annotations

from isthmus.evaluate.judges import Unread, number, verdict

ABOUT = "how good is the answer? 1 to 10"
KIND = "grade"
HIGHEST = 10
LONGEST = 400
SYSTEM = "You grade answers to questions about pictures, sounds and videos, strictly and by their content."
PROMPT = """
The question, and what a model answered:

{question}

{answer}

Say in at most three sentences what is right and what is wrong with the answer. Length is no merit. Then end with one
line

VERDICT: N

where N is a whole number: 1 wrong or no answer, 4 partly right, 7 right with flaws, 10 right and complete.
"""


def read(reply: str) -> float:
    """The grade.

    >>> read("Right, but it leaves out the cat.\\n**VERDICT: 7/10**")
    7.0
    """
    found = number(verdict(reply), HIGHEST, whole=True)
    if found < 1:
        raise Unread("the verdict 0 is no grade from 1 to 10")
    return found
