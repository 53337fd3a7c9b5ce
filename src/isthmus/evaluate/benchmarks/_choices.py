"""Reading the letter of an option, or yes or no, out of an answer: as VLMEvalKit does, and as a person does.

Haodong Duan et al., "VLMEvalKit", 2024, arXiv:2407.11691. Its rule without a judge (`exact_matching`) counts what it
cannot infer as wrong; MMBench's published figures ask a language model there, which is not done here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from string import ascii_uppercase

from isthmus.evaluate.benchmarks._rows import Asked
from isthmus.evaluate.files import Row
from isthmus.evaluate.scored import Scored

NONE_OF_THEM = "Z"  # the letter for an answer that chooses nothing
REFUSED = (
    "Sorry, I can't help with images of people yet.",
    "I can't process this file.",
    "I'm sorry, but without the image provided",
    "Cannot determine the answer",
)
FAILED = "Failed to obtain answer via API"
PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
PERIODS = int(re.UNICODE)  # the flag is passed as the count of replacements, as in the code of VQA
MARKS = str.maketrans(dict.fromkeys(".()[],:;!*#{}", " "))
EMPTY = {
    "",
    "nan",
    "NaN",
    "None",
    "NA",
    "N/A",
    "n/a",
    "null",
    "NULL",
    "<NA>",
    "#N/A",
}  # cells that pandas reads as none


def options(row: Row) -> dict[str, str]:
    """The options of a row, by letter: its columns A to Z as far as they are filled.

    >>> options({"A": "a dog", "B": 7.0, "C": "", "D": float("nan"), "index": 1})
    {'A': 'a dog', 'B': '7.0'}
    """
    cells = {letter: str(row[letter]) for letter in ascii_uppercase if row.get(letter) is not None}
    return {letter: cell for letter, cell in cells.items() if cell not in EMPTY}


def inferred(answer: str, choices: Mapping[str, str]) -> str | None:
    """The letter by VLMEvalKit's rule: the one that stands alone among the words, else the one option whose text does.

    Z is an answer that refuses; None is one that nothing can be inferred from. Releases of 2025 ask moreover that the
    letter is among the last five words.

    >>> choices = {"A": "a red cat", "B": "a dog"}
    >>> inferred("(B)", choices), inferred("It is a DOG!", choices), inferred("A or B", choices), inferred("Z", choices)
    ('B', 'B', None, 'Z')
    """
    if FAILED not in answer:
        if any(refusal in answer for refusal in REFUSED):
            return NONE_OF_THEM
        words = set(answer.translate(MARKS).split())
        alone = [letter for letter in choices if letter in words]
        if len(alone) == 1:
            return alone[0]
        if not alone and NONE_OF_THEM in words:
            return NONE_OF_THEM
    if len(answer.lower()) > 2 * sum(map(len, choices.values())):
        return None
    named = [letter for letter, option in choices.items() if option and option.lower() in answer.lower()]
    return named[0] if len(named) == 1 else None


def yes_or_no(answer: str) -> bool | None:
    """VLMEvalKit's reading: yes if that word stands in an answer and no does not, or the reverse; else None.

    >>> yes_or_no("Yes, it is."), yes_or_no("NO"), yes_or_no("yes and no"), yes_or_no("**Yes**")
    (True, False, None, None)
    """
    low = answer.lower()
    words = low
    for sign in PUNCTUATION:
        beside_space = f"{sign} " in low or f" {sign}" in low or re.search(r"\d,\d", low)
        words = words.replace(sign, "" if beside_space else " ")
    told = set(re.sub(r"\.(?!\d)", "", words, count=PERIODS).split())
    return None if ("yes" in told) == ("no" in told) else "yes" in told


def read(answer: str, choices: Mapping[str, str]) -> str | None:
    """A person's reading: a letter by itself or marked as one, the last that is called the answer, one option's text.

    >>> choices = {"A": "a cat", "B": "a dog"}
    >>> [read(text, choices) for text in ("b", "B. a dog", "A or B? The answer is (A)", "A fine dog", "It is a dog.")]
    ['B', 'B', 'A', None, 'B']
    """
    said = answer.strip()
    called = re.findall(r"(?i)\b(?:answer|option|choice)\b(?:\s+is|\s*:)?[\s*:(\"']*([A-Z])(?![\w'])", said)
    for letters in (
        re.findall(r"^\W*([A-Za-z])\W*$", said),
        re.findall(r"^[\s(\[*]*([A-Z])[)\].:,*]", said),
        [letter for letter in called if letter.isupper()][-1:],
        re.findall(r"\(([A-Z])\)", said),
    ):
        found: set[str] = {letter.upper() for letter in letters} & set(choices)
        if len(found) == 1:
            return found.pop()
    named = [
        key for key, option in choices.items() if option and re.search(rf"(?i)(?<!\w){re.escape(option)}(?!\w)", said)
    ]
    return named[0] if len(named) == 1 else None


def chosen(one: Asked, mode: str, found: Scored) -> str | None:
    """The letter that an answer chooses, empty where the official rule infers none; None where it is left unscored."""
    choices = options(one.row) or dict.fromkeys("ABCDE", "")  # a file without options still has letters
    letter = inferred(one.said, choices) if mode == "official" else read(one.said, choices)
    if letter is None and mode == "lenient":
        found.unscored[one.id] = "no option can be read" if one.said.strip() else "no prediction"
        return None
    return letter or ""


def noted(count: int, found: Scored, what: str = "wrong") -> None:
    """Say in a note how many answers could not be read and what the official rule made of them."""
    if count:
        found.notes.append(f"{count:,} answers choose no option that can be read; the official rule counts them {what}")
