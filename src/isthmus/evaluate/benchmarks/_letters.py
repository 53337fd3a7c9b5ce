"""Multiple-choice answers of text benchmarks: letters out of texts, and choices by log-likelihood.

Texts are read as github.com/openai/simple-evals does ("Answer: B"), and a letter alone is that letter. Log-likelihoods
are compared as lm-evaluation-harness does: `acc` takes the likeliest choice, `acc_norm` the likeliest by character.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from isthmus.evaluate.benchmarks._choices import read
from isthmus.evaluate.benchmarks._rows import text
from isthmus.evaluate.files import Row

LETTERS = "ABCDEFGH"
MARKUP = (
    "**",
    "$\\boxed{",
    "}$",
    "\\$",
    "$\\text{",
    "$",
    "\\mathrm{",
    "\\{",
    "\\text",
    "\\(",
    "\\mathbf{",
    "{",
    "\\boxed",
)
ANSWER = r"(?i)Answer\s*:[ \t]*([A-{last}])"
ALONE = r"\s*\(?([A-{last}])[).:]?\s*\.?\s*"


class Choice(NamedTuple):
    """Which choice was taken: by what was said (None if that cannot be read) or by likelihood, also by character."""

    said: int | None
    by_character: int | None = None


def letter(said: str, last: str = "D") -> str | None:
    """The letter that is alone, or follows the first "Answer:"; None without one. A small one there is none of them.

    >>> letter("I think of B.\\nAnswer: **C**"), letter("(b)"), letter("Answer: c"), letter("It is B")
    ('C', 'B', 'c', None)
    """
    if alone := re.fullmatch(ALONE.format(last=last), said, re.I):
        return alone[1].upper()
    for mark in MARKUP:
        said = said.replace(mark, "")
    found = re.search(ANSWER.format(last=last), said)
    return found[1] if found else None


def choose(said: str, row: Row, mode: str) -> Choice:
    """The choice of an answer in text, or of the log-likelihoods that the row holds."""
    logs = loglikelihoods(row)
    options = texts(row)
    if logs is not None:
        lengths = [max(len(option), 1) for option in options] if len(options) == len(logs) else None
        by_character = None if lengths is None else int(np.argmax(np.array(logs) / np.array(lengths)))
        return Choice(int(np.argmax(logs)), by_character)
    if said.strip().isdigit() and len(said.strip()) == 1:  # the number of a choice, from 0
        return Choice(int(said))
    last = LETTERS[max(len(options), 4) - 1] if len(options) <= len(LETTERS) else "H"
    if mode == "official":
        name = letter(said, last)
    else:
        named = dict(zip(LETTERS, options, strict=False)) or dict.fromkeys(LETTERS[:4], "")
        name = (letter(said, last) or read(said, named) or "").upper()
    return Choice((LETTERS + LETTERS.lower()).index(name) if name else None)


def loglikelihoods(row: Row) -> list[float] | None:
    """One number for each choice: the harness's `[[-1.2, False], ...]`, a list or a dictionary of numbers."""
    for key in ("filtered_resps", "resps", "loglikelihoods", "logprobs", "log_likelihoods", "probabilities", "probs"):
        cell = row.get(key)
        if isinstance(cell, dict):
            cell = [cell[name] for name in sorted(cell)]
        if isinstance(cell, list) and len(cell) > 1:
            numbers = [_number(one) for one in cell]
            if all(number is not None for number in numbers):
                return [number for number in numbers if number is not None]
    return None


def _number(cell: Any) -> float | None:
    """The number of `-1.2`, `"-1.2"`, `["-1.2", "False"]` or `[["-1.2", "False"]]`."""
    while isinstance(cell, list | tuple) and cell:
        cell = cell[0]
    try:
        return None if isinstance(cell, bool) else float(cell)
    except (TypeError, ValueError):
        return None


def texts(row: Row) -> list[str]:
    """The texts of a row's choices: a list, `{text, label}`, the authors' stem with choices, or the columns A to E."""
    choices: Any = row.get("choices")
    if isinstance(row.get("question"), dict):
        choices = row["question"].get("choices", choices)
    if isinstance(choices, dict):
        choices = choices.get("text", [])
    if isinstance(choices, list):
        return [text(one["text"] if isinstance(one, dict) else one) for one in choices]
    return [text(row[name]) for name in LETTERS if text(row.get(name)) or text(row.get(name.lower()))]


def labels(row: Row) -> Sequence[str]:
    """What the choices are called: letters, or in some of ARC's questions numbers."""
    choices: Any = row.get("choices")
    if isinstance(row.get("question"), dict):
        choices = row["question"].get("choices", choices)
    if isinstance(choices, dict) and "label" in choices:
        return [text(one) for one in choices["label"]]
    if isinstance(choices, list) and choices and isinstance(choices[0], dict):
        return [text(one["label"]) for one in choices]
    return LETTERS
