"""METEOR's own normaliser for English (`-norm`): how it parts words before they are aligned.

After Moses' tokeniser, with what METEOR 1.5 adds: quotes and dashes are made alike, hyphens inside words part them, and
abbreviations lose their dots (Denkowski and Lavie, WMT 2014). Captions come here without most of their punctuation, so
what matters is mostly hyphens and dots.
"""

from __future__ import annotations

import re

LETTERS = "A-Za-zŠŽšžŸÀ-ÖØ-öø-žЀ-ӿԀ-ԧꙀ-ꙮ꙾-ꚗᴀ-ᵿ"
WORDLY = f"0-9{LETTERS}"
BLANK = " \\t\\n\\x0b\\f\\r"
SPACES = re.compile("[ \u2000-\u200a\u202f\u205f\u3000\xa0]+")
APART = re.compile(rf"([^{WORDLY}{BLANK}.'`,\-‘’])")
DOTS = re.compile(r"\.{2,}")
COMMAS = tuple(
    re.compile(pair) for pair in (r"([^0-9]),([^0-9])", r"([0-9]),([^0-9])", r"([^0-9]),([0-9])")
)  # one after the other, as each takes the letters beside it along
QUOTES = re.compile("[`‘’]")
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
HELD = "\0"  # stands for a dot of several, which no later step may part


def normal(text: str, prefixes: dict[str, bool]) -> list[str]:
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
    line = HYPHEN.sub(r"\1 \2", line.replace("–", "-").replace("--", "-"))
    for pattern, parted in APOSTROPHES:
        line = pattern.sub(parted, line)
    words = re.findall(r"[^ \t\n\r\f]+", line)
    joined = " ".join(
        _dotted(word, after, prefixes) for word, after in zip(words, [*words[1:], ""], strict=True)
    ).replace(HELD, ".")
    return re.findall(r"[^ \t\n\r\f]+", SPACES.sub(" ", joined).lower())


def _dotted(word: str, after: str, prefixes: dict[str, bool]) -> str:
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
