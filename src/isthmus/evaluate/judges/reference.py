"""Does an answer agree with a reference?"""

from __future__ import annotations

from isthmus.evaluate.judges import Unread, verdict

ABOUT = "does the answer agree with the reference? correct, partly or incorrect"
KIND = "reference"
HIGHEST = 1
LONGEST = 300
SYSTEM = "You check answers against a reference that is right, strictly and by their content."
PROMPT = """
The question, the reference, and what a model answered:

{question}

{reference}

{answer}

Say in at most two sentences where the answer agrees with the reference and where it does not. Other words for the same
are right; what contradicts the reference is wrong. Then end with one line

VERDICT: CORRECT, VERDICT: PARTLY or VERDICT: INCORRECT
"""
SAID = {"correct": 1.0, "partly": 0.5, "incorrect": 0.0}


def read(reply: str) -> float:
    """1 for correct, 0.5 for partly, 0 for incorrect.

    >>> read("It says a dog, the reference a hound.\\nVERDICT: CORRECT")
    1.0
    """
    said = verdict(reply)
    if said not in SAID:
        raise Unread(f"the verdict {said!r} is none of CORRECT, PARTLY, INCORRECT")
    return SAID[said]
