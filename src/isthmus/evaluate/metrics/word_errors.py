"""Word and character errors: substitutions, deletions and insertions over the units of the reference.

WER = (S + D + I) / N, pooled over a corpus (Levenshtein, 1966; NIST's sclite). Words that are inserted where the
reference is empty count as errors. Alignment is by `jiwer`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import NamedTuple


class Errors(NamedTuple):
    """What one utterance adds: three kinds of errors, and the words (or characters) of its reference."""

    substitutions: int
    deletions: int
    insertions: int
    units: int


def errors(truth: str, said: str, characters: bool = False) -> Errors:
    """The fewest errors that lead from the truth to what was said; outer and double spaces are no matter.

    >>> errors("the cat sat", "the bat sat down")
    Errors(substitutions=1, deletions=0, insertions=1, units=3)
    >>> tuple(errors("", "so it is")), tuple(errors("abc", "ac", characters=True))
    ((0, 0, 3, 0), (0, 1, 0, 3))
    """
    import jiwer

    truth, said = " ".join(truth.split()), " ".join(said.split())
    units, given = (len(text) if characters else len(text.split()) for text in (truth, said))
    if not units or not given:
        return Errors(0, units, given, units)
    found = jiwer.process_characters(truth, said) if characters else jiwer.process_words(truth, said)
    return Errors(found.substitutions, found.deletions, found.insertions, units)


def rate(counts: Iterable[Errors]) -> float:
    """All errors over all units: WER of words, CER of characters; can be over 1, and is NaN without any unit.

    >>> rate([errors("the cat sat", "the bat sat down"), errors("yes", "yes")])
    0.5
    """
    wrong, units = 0, 0
    for one in counts:
        wrong += one.substitutions + one.deletions + one.insertions
        units += one.units
    return wrong / units if units else float("nan")


@functools.cache
def whisper_normaliser() -> Callable[[str], str]:
    """What Whisper's authors do to English texts before they count (Radford et al., 2022, arXiv:2212.04356, app. C).

    Without case, punctuation, fillers and what stands in brackets; numbers in digits; contractions written out. The
    list of British spellings, which is a file of Whisper's tokeniser, is not applied.

    >>> whisper_normaliser()("Mr. Brown won't pay [laughs] twenty-five dollars, um!")
    'mister brown will not pay $25'
    """
    from transformers.models.whisper.english_normalizer import EnglishTextNormalizer

    return EnglishTextNormalizer({})  # type: ignore[no-any-return]
