"""How MMMU's authors read an answer: the letter of a choice, or the numbers and words of an open one.

Their code draws a letter where it finds none; here that is None, and the caller draws, or does not.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence

Said = list[str | float]
DOMAINS = {
    "Art and Design": ("Art", "Art_Theory", "Design", "Music"),
    "Business": ("Accounting", "Economics", "Finance", "Manage", "Marketing"),
    "Science": ("Biology", "Chemistry", "Geography", "Math", "Physics"),
    "Health and Medicine": (
        "Basic_Medical_Science", "Clinical_Medicine", "Diagnostics_and_Laboratory_Medicine", "Pharmacy",
        "Public_Health",
    ),
    "Humanities and Social Science": ("History", "Literature", "Sociology", "Psychology"),
    "Tech and Engineering": (
        "Agriculture", "Architecture_and_Engineering", "Computer_Science", "Electronics", "Energy_and_Power",
        "Materials", "Mechanical_Engineering",
    ),
}  # fmt: skip
ORDER = sorted(subject for own in DOMAINS.values() for subject in own)  # in which the authors' code draws letters
SIGNS = (",", ".", "!", "?", ";", ":", "'")
KEYS = ("could be ", "so ", "is ", "thus ", "therefore ", "final ", "answer ", "result ")
NUMBERS = (
    re.compile(r"-?\b\d{1,3}(?:,\d{3})+\b"),  # with commas
    re.compile(r"-?\d+(?:\.\d+)?[eE][+-]?\d+"),  # scientific
    re.compile(r"-?(?:\d+\.\d+|\.\d+|\d+\b)(?![eE][+-]?\d+)(?![,\d])"),
)


def choice(response: str, options: Mapping[str, str]) -> str | None:
    """The letter of a multiple choice: the last written `(A)`, else ` A `, else, in over five words, option named.

    >>> options = {"A": "left", "B": "right"}
    >>> choice("Not (A) but (B).", options), choice("I say A", options), choice("A.", options), choice("right", options)
    ('B', 'A', 'A', None)
    >>> choice("I would turn to the right here", options)
    'B'
    """
    for sign in SIGNS:
        response = response.strip(sign)
    said = f" {response} "
    for form in ("({})", " {} "):
        if found := _last({letter: said.rfind(form.format(letter)) for letter in options}):
            return found
    if len(said.split()) > 5:
        return _last({letter: said.lower().rfind(option.lower()) for letter, option in options.items()})
    return None


def choice_pro(response: str, options: Mapping[str, str]) -> str | None:
    """The letter as MMMU-Pro reads it: the only one behind the last `Answer:`, else as `choice` does with `A.` as well.

    >>> options = {"A": "left", "B": "right"}
    >>> choice_pro("So B? Answer: (A)", options), choice_pro("B. right", options), choice_pro("neither", options)
    ('A', 'B', None)
    """
    _, called, behind = response.rpartition("Answer:")
    if called and len(named := [letter for letter in options if letter in behind.strip()]) == 1:
        return named[0]
    for sign in SIGNS:
        response = response.strip(sign)
    said = f" {response} "
    if found := _last({letter: said.rfind(f"({letter})") for letter in options}):
        return found
    for form in ("{} ", "{}."):
        if named := [letter for letter in options if form.format(letter) in said]:
            # ties are broken where letters stand alone, as in the authors' code; the first wins where none does
            return max(named, key=lambda letter: said.rfind(f" {letter} "))
    if len(said.split()) > 5:
        return _last({letter: said.lower().rfind(option.lower()) for letter, option in options.items()})
    return None


def open_answers(response: str) -> Said:
    """What an open answer may mean: the tails behind words like `is`, or all of it, and the numbers in them.

    >>> open_answers("The force is 1,250 N or 7.126."), open_answers("Paris")
    (['1,250 n or 7.126', 1250.0, 250.0, 7.13], ['paris'])
    """
    whole = response.strip().strip(".").lower()
    tails = list(_tails(whole.split("\n"))) or [whole]
    numbers = [number for tail in tails for form in NUMBERS for number in form.findall(tail)]
    return [one for part in (*tails, *numbers) for one in normalised(part)]


def normalised(part: str) -> Said:
    """A number rounded to two digits behind the point, or words in lower case, one letter only beside a space.

    >>> normalised("1,000.126"), normalised("Paris "), normalised("X")
    ([1000.13], ['paris'], [' x', 'x '])
    """
    part = part.strip()
    try:
        return [round(float(part.replace(",", "")), 2)]
    except ValueError:
        words = part.lower()
    return [f" {words}", f"{words} "] if len(words) == 1 else [words]


def open_right(truths: Sequence[str], said: Said) -> bool:
    """Whether any answer holds any true word, or is any true number."""
    wanted = [one for truth in truths for one in normalised(truth)]
    words = [one for one in wanted if isinstance(one, str)]
    return any(any(word in one for word in words) if isinstance(one, str) else one in wanted for one in said)


def _tails(lines: Sequence[str]) -> Iterable[str]:
    """The shortest of what stands behind each key word of a line; in the last line `=` is one too."""
    for number, line in enumerate(lines, 1):
        shortest = ""
        for key in (*KEYS, "=") if number == len(lines) else KEYS:
            if key in line:
                tail = line.split(key)[-1].strip()
                shortest = tail if not shortest or len(tail) < len(shortest) else shortest
        if shortest and shortest not in SIGNS:
            yield shortest


def _last(places: Mapping[str, int]) -> str | None:
    """The letter that stands last; None where none stands."""
    letter = max(places, key=lambda name: places[name], default=None)
    return letter if places.get(letter or "", -math.inf) >= 0 else None
