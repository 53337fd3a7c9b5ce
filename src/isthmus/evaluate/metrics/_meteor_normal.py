"""METEOR's own normaliser for English (`-norm`): how it parts words before they are aligned.

After Moses' tokeniser, with what METEOR 1.5 adds: quotes and dashes are made alike, hyphens inside words part them, and
abbreviations lose their dots (Denkowski and Lavie, WMT 2014). Captions come here without most of their punctuation, so
what matters is mostly hyphens and dots.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

LETTERS = "A-Za-zŠŽšžŸÀ-ÖØ-öø-žЀ-ӿԀ-ԧꙀ-ꙮ꙾-ꚗᴀ-ᵿ"
WORDLY = f"0-9{LETTERS}"
BLANK = " \\t\\n\\x0b\\f\\r"
SPACES = re.compile("[ \u2000-\u200a\u202f\u205f\u3000\xa0]+")
APART = re.compile(rf"([^{WORDLY}{BLANK}.'`,\-\u2018\u2019])")
DOTS = re.compile(r"\.{2,}")
COMMAS = tuple(
    re.compile(pair) for pair in (r"([^0-9]),([^0-9])", r"([0-9]),([^0-9])", r"([^0-9]),([0-9])")
)  # one after the other, as each takes the letters beside it along
QUOTES = re.compile("[`\u2018\u2019]")
DOUBLE = re.compile("“|”|''")
HYPHEN = re.compile(rf"([{WORDLY}.])-([{WORDLY}])")
APOSTROPHES = tuple(
    (re.compile(pair), parted)
    for pair, parted in (
        (rf"([^{LETTERS}])'([^{LETTERS}])", r"\1 ' \2"),
        (rf"([^{LETTERS}0-9])'([{LETTERS}])", r"\1 ' \2"),
        (rf"([{LETTERS}])'([^{LETTERS}])", r"\1 ' \2"),
        (rf"([{LETTERS}])'([{LETTERS}])", r"\1 '\2"),
        (r"([0-9])'(s)", r"\1 '\2"),
    )
)
HELD = "\ue000"  # stands for a dot of several, which no later step may part
CONTROLS = "".join(map(chr, range(33)))


def normal(text: str, prefixes: Mapping[str, bool]) -> list[str]:
    """The words of a text in lower case.

    Args:
        text: a caption.
        prefixes: words that keep the dot behind them; True for those that keep it before a number only.

    >>> normal("A well-known man's U.S. flag, 5,000 of them.", {})
    ['a', 'well', 'known', 'man', "'s", 'us', 'flag', ',', '5,000', 'of', 'them', '.']
    """
    line = APART.sub(r" \1 ", f" {text} ")
    line = DOTS.sub(lambda found: " " + HELD * len(found[0]) + " ", line)
    for pattern in COMMAS:
        line = pattern.sub(r"\1 , \2", line)
    line = DOUBLE.sub(' " ', QUOTES.sub("'", line))
    line = HYPHEN.sub(r"\1 \2", line.replace("\u2013", "-").replace("--", "-"))
    for pattern, parted in APOSTROPHES:
        line = pattern.sub(parted, line)
    words = re.findall(r"[^ \t\n\r\f]+", line)
    pairs = zip(words, [*words[1:], ""], strict=False)
    joined = " ".join(_dotted(word, after, prefixes) for word, after in pairs).replace(HELD, ".")
    return re.findall(r"[^ \t\n\r\f]+", SPACES.sub(" ", joined).strip(CONTROLS).lower())


def _dotted(word: str, after: str, prefixes: Mapping[str, bool]) -> str:
    """A word that ends in a dot: without its dots (U.S.), with its dot (Mr.), or with the dot apart."""
    before = word[:-1]
    if not before or not word.endswith("."):
        return word
    if "." in before and re.search(f"[{LETTERS}]", before):
        return word.replace(".", "")
    numbers_only = prefixes.get(before)
    if numbers_only is False or re.match("[a-z]", after) or (numbers_only and re.match("[0-9]", after)):
        return word
    return f"{before} ."
