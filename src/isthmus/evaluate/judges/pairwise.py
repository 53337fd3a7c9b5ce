"""Which of two answers is better? Asked in both orders."""

from __future__ import annotations

from isthmus.evaluate.judges import Unread, verdict

ABOUT = "which of two answers is better? Asked in both orders; where these disagree, neither"
KIND = "pair"
HIGHEST = 1
LONGEST = 400
SYSTEM = "You compare two answers to a question about pictures, sounds or videos, strictly and by their content."
PROMPT = """
The question, and what two models answered:

{question}

The first answer:

{first}

The second answer:

{second}

Say in at most three sentences how they differ in what is right. Neither order nor length is a merit. Then end with one
line

VERDICT: FIRST, VERDICT: SECOND or VERDICT: TIE
"""
SAID = {"first": 1.0, "second": 0.0, "tie": 0.5}


def read(reply: str) -> float:
    """1 for the first, 0 for the second, 0.5 for a tie.

    >>> read("Both name the dog.\\nVERDICT: TIE")
    0.5
    """
    said = verdict(reply)
    if said not in SAID:
        raise Unread(f"the verdict {said!r} is none of FIRST, SECOND, TIE")
    return SAID[said]
