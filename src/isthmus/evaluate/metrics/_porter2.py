"""The English stemmer of Snowball ("Porter2"): M. F. Porter, 2001, snowballstem.org/algorithms/english.

NLTK's and METEOR's differ for some words ("realization", "vocationally"); this one equals METEOR's.
"""

from __future__ import annotations

import functools
import re

VOWELS = "aeiouy"
DOUBLES = ("bb", "dd", "ff", "gg", "mm", "nn", "pp", "rr", "tt")
WHOLE = {
    "skis": "ski", "skies": "sky", "dying": "die", "lying": "lie", "tying": "tie", "idly": "idl", "gently": "gentl",
    "ugly": "ugli", "early": "earli", "only": "onli", "singly": "singl", "sky": "sky", "news": "news", "howe": "howe",
    "atlas": "atlas", "cosmos": "cosmos", "bias": "bias", "andes": "andes",
}  # fmt: skip
AFTER_PLURAL = ("inning", "outing", "canning", "herring", "earring", "proceed", "exceed", "succeed")
FIRST_REGION = re.compile(r"gener|commun|arsen")
REGION = re.compile(rf"[{VOWELS}][^{VOWELS}]")
SHORT = re.compile(rf"(?:[^{VOWELS}][{VOWELS}][^{VOWELS}wxY]|^[{VOWELS}][^{VOWELS}])$")
SECOND = {
    "ization": "ize", "ational": "ate", "ousness": "ous", "iveness": "ive", "fulness": "ful", "tional": "tion",
    "lessli": "less", "biliti": "ble", "entli": "ent", "ation": "ate", "alism": "al", "aliti": "al", "fulli": "ful",
    "ousli": "ous", "iviti": "ive", "enci": "ence", "anci": "ance", "abli": "able", "izer": "ize", "ator": "ate",
    "alli": "al", "bli": "ble", "ogi": "og", "li": "",
}  # fmt: skip
THIRD = {
    "ational": "ate", "tional": "tion", "alize": "al", "icate": "ic", "iciti": "ic", "ative": "", "ical": "ic",
    "ness": "", "ful": "",
}  # fmt: skip
FOURTH = (
    *("ement", "ance", "ence", "able", "ible", "ment", "ant", "ent", "ism", "ate", "iti", "ous", "ive", "ize", "ion"),
    *("al", "er", "ic"),
)


@functools.lru_cache(1 << 16)
def stem(word: str) -> str:
    """The stem of a word in lower case.

    >>> [stem(word) for word in ("running", "generously", "dying", "realization", "cities", "cat")]
    ['run', 'generous', 'die', 'realiz', 'citi', 'cat']
    """
    if word in WHOLE:
        return WHOLE[word]
    if len(word) < 3:
        return word
    word = word.removeprefix("'")
    word = re.sub(rf"(^|[{VOWELS}])y", r"\1Y", word)  # a y that sounds as a consonant
    first, second = _regions(word)
    word = _plural(word)
    if word in AFTER_PLURAL:
        return word
    word = _past(word, first)
    if len(word) > 2 and word[-1] in "yY" and word[-2] not in VOWELS:
        word = word[:-1] + "i"
    for suffixes in (SECOND, THIRD):
        word = _longest(word, suffixes, first, second)
    word = _fourth(word, second)
    if (word.endswith("e") and (len(word) > second or (len(word) > first and not SHORT.search(word[:-1])))) or (
        word.endswith("ll") and len(word) > second
    ):
        word = word[:-1]
    return word.lower()


def _regions(word: str) -> tuple[int, int]:
    """Where R1 and R2 begin: behind the first consonant that follows a vowel, and behind the next such."""
    found = FIRST_REGION.match(word) or REGION.search(word)
    first = found.end() if found else len(word)
    again = REGION.search(word, first)
    return first, again.end() if again else len(word)


def _plural(word: str) -> str:
    """Steps 0 and 1a."""
    word = re.sub(r"('s'|'s|')$", "", word)
    if word.endswith("sses"):
        return word[:-2]
    if word.endswith(("ied", "ies")):
        return word[: -2 if len(word) > 4 else -1]
    if word.endswith("s") and not word.endswith(("us", "ss")) and re.search(f"[{VOWELS}].", word[:-1]):
        return word[:-1]
    return word


def _past(word: str, first: int) -> str:
    """Step 1b."""
    if found := re.search(r"(eed|eedly)$", word):
        return word[: found.start()] + "ee" if found.start() >= first else word
    found = re.search(r"(ingly|edly|ing|ed)$", word)
    if not found or not re.search(f"[{VOWELS}]", word[: found.start()]):
        return word
    word = word[: found.start()]
    if word.endswith(("at", "bl", "iz")):
        return word + "e"
    if word.endswith(DOUBLES):
        return word[:-1]
    return word + "e" if len(word) <= first and SHORT.search(word) else word


def _longest(word: str, suffixes: dict[str, str], first: int, second: int) -> str:
    """Steps 2 and 3: the longest suffix is changed if it lies in R1, and none but it."""
    suffix = next((one for one in suffixes if word.endswith(one)), None)
    if suffix is None or len(word) - len(suffix) < first:
        return word
    before = word[: len(word) - len(suffix)]
    if (suffix == "li" and before[-1:] not in tuple("cdeghkmnrt")) or (suffix == "ogi" and not before.endswith("l")):
        return word
    if suffix == "ative" and len(before) < second:
        return word
    return before + suffixes[suffix]


def _fourth(word: str, second: int) -> str:
    suffix = next((one for one in FOURTH if word.endswith(one)), None)
    if suffix is None or len(word) - len(suffix) < second:
        return word
    before = word[: len(word) - len(suffix)]
    return word if suffix == "ion" and not before.endswith(("s", "t")) else before
