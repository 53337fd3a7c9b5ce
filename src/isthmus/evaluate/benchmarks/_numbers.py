"""Numbers in answers, as a person reads them."""

from __future__ import annotations

import re
from fractions import Fraction

NUMBER = re.compile(r"-?\d[\d,\u00a0\u202f]*(?:\.\d+)?(?:/\d+)?|-?\.\d+")
CALLED = re.compile(r"(?i)(?:####|\\boxed\{|\banswer\s*(?:is|:|=)?)\s*[\s:=*$€£\\(]*(" + NUMBER.pattern + ")")


def final(text: str) -> Fraction | None:
    r"""The last number that is called the answer (`####`, `\boxed`, `answer is`), else the last number; None of none.

    >>> final("10 apples, so the answer is 1,050.00 dollars (not 3)."), final("It is $\\boxed{-1/2}$"), final("none")
    (Fraction(1050, 1), Fraction(-1, 2), None)
    """
    found = CALLED.findall(text) or NUMBER.findall(text)
    return value(found[-1]) if found else None


def value(text: str) -> Fraction | None:
    """A number that was written with commas, with a point or as a fraction; None of anything else.

    >>> value("1,050.50"), value("3/4"), value("x")
    (Fraction(2101, 2), Fraction(3, 4), None)
    """
    try:
        return Fraction(re.sub(r"[,\s$%]", "", text).rstrip("."))
    except (ValueError, ZeroDivisionError):
        return None
