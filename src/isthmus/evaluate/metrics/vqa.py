"""The accuracy of an open answer against those that ten people gave, in its three official forms.

An answer counts by how many people agree with it: with three others it is wholly right. People are compared with the
nine others, so the machine's accuracy is the mean over the ten sets from which one person is left out.

    S. Antol et al., "VQA: Visual Question Answering", ICCV 2015, arXiv:1505.00468: the measure (`vqa`)
    A. Singh et al., "Towards VQA Models That Can Read", CVPR 2019, arXiv:1904.08920: EvalAI's form of it (`textvqa`)
    D. Gurari et al., "VizWiz Grand Challenge", CVPR 2018, arXiv:1802.08218: only the machine's answer is tidied
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence

PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
PERIOD = re.compile(r"\.(?!\d)")
PERIODS = 32  # the reference hands `re.UNICODE`, which is 32, to `sub` where it takes the greatest number of changes
COMMA = re.compile(r"\d,\d")
NUMERALS = "zero one two three four five six seven eight nine ten"
NUMBERS = {"none": "0"} | {word: str(n) for n, word in enumerate(NUMERALS.split())}
ARTICLES = ("a", "an", "the")
BENT = "\N{RIGHT SINGLE QUOTATION MARK}"
ASCII = "ain't aren't can't could've couldn't we've where's who've"
WRITTEN = (
    f"{ASCII} couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd he'd've he's how'd how'll how's"
    " isn't it'd it'd've it'll ma'am mightn't mightn't've might've mustn't must've needn't not've o'clock oughtn't"
    " 'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd've somebody'll somebody's someone'd"
    " someone'd've someone'll someone's something'd something'd've something'll that's there'd there'd've there're"
    " there's they'd they'd've they'll they're they've 'twas wasn't we'd've weren't what'll what're what's what've"
    " when's where'd where've who'd who'd've who'll who's why'll why're why's won't would've wouldn't wouldn't've y'all"
    " y'all'll y'all'd've you'd you'd've you'll you're you've"
).split()


def _lacking(word: str, mark: str = "'") -> list[str]:
    """The word without one of its apostrophes, for each of them: what the reference puts right."""
    return [word[:at] + word[at + 1 :] for at, letter in enumerate(word) if letter == mark]


CONTRACTIONS = {lacking: word for word in WRITTEN for lacking in _lacking(word)} | {"somebody'd": "somebodyd"}
# VizWiz's copy of the table was through a word processor, so what it puts right no longer equals what people typed.
CURLY = {
    lacking.replace("'", BENT): word if word in ASCII.split() else word.replace("'", BENT)
    for lacking, word in CONTRACTIONS.items()
}
CURLY |= {word: CURLY.pop(word.replace("'", BENT)) for word in ("couldn'tve", "hadn'tve")}


def without_punctuation(text: str) -> str:
    """Marks fall away where a space is beside them or digits are grouped by a comma; elsewhere each becomes a space.

    >>> without_punctuation("a t-shirt, red."), without_punctuation("1,000 kg/m")
    ('a t shirt red', '1000 kgm')
    """
    found = text
    joined = COMMA.search(text) is not None
    for mark in PUNCTUATION:
        beside = f"{mark} " in text or f" {mark}" in text
        found = found.replace(mark, "" if joined or beside else " ")
    return PERIOD.sub("", found, count=PERIODS)


def plain_words(text: str, contractions: Mapping[str, str] = CONTRACTIONS) -> str:
    """Lower case, number words as digits, no articles, apostrophes put back.

    >>> plain_words("The two dogs dont bark")
    "2 dogs don't bark"
    """
    words = [NUMBERS.get(word, word) for word in text.lower().split()]
    return " ".join(contractions.get(word, word) for word in words if word not in ARTICLES)


def one_line(text: str) -> str:
    """Without line breaks, tabs and outer white space.

    >>> one_line(" a red\\tcar\\n")
    'a red car'
    """
    return text.replace("\n", " ").replace("\t", " ").strip()


@functools.lru_cache(maxsize=1 << 16)  # people's answers to 200,000 questions are few
def evalai(text: str) -> str:
    """An answer as EvalAI's processor makes it: no commas and question marks, `'s` a word of its own, then as VQA's.

    >>> evalai("The dog's, one?"), evalai("3,000")
    ("dog 's 1", '3000')
    """
    text = text.lower().replace(",", "").replace("?", "").replace("'s", " 's").strip()
    return plain_words(without_punctuation(one_line(text)))


@functools.lru_cache(maxsize=1 << 16)
def normalised(text: str) -> str:
    """An answer without punctuation, in plain words.

    >>> normalised("The T-shirt!")
    't shirt'
    """
    return plain_words(without_punctuation(text))


def agreement(answer: str, people: Sequence[str]) -> float:
    """The mean, over people, of min(others who said the answer / 3, 1): of ten, 1 match gives .3, 2 .6, 3 .9, 4 1.

    >>> [round(agreement("dog", ["dog"] * k + ["cat"] * (10 - k)), 3) for k in (0, 1, 2, 3, 4)]
    [0.0, 0.3, 0.6, 0.9, 1.0]
    """
    matches = sum(one == answer for one in people)
    others = len(people) - matches
    return (matches * min(1.0, (matches - 1) / 3) + others * min(1.0, matches / 3)) / len(people)


def vqa(answer: str, people: Sequence[str]) -> float:
    """VQA's accuracy: texts are normalised only if people differ, so that of ten times `yes` an answer `Yes` is wrong.

    >>> vqa("Two dogs.", ["2 dogs"] * 9 + ["dogs"]), vqa("Yes", ["yes"] * 10), vqa("yes", ["yes"] * 10)
    (1.0, 0.0, 1.0)
    """
    said, told = one_line(answer), [one_line(one) for one in people]
    if len(set(told)) > 1:
        said, told = normalised(said), [normalised(one) for one in told]
    return agreement(said, told)


def textvqa(answer: str, people: Sequence[str]) -> float:
    """TextVQA's accuracy: always normalised, as EvalAI does.

    >>> textvqa("Dakota Digital!", ["dakota digital"] * 3 + ["dakota"] * 7)
    0.9
    """
    return agreement(evalai(answer), [evalai(one) for one in people])


def vizwiz(answer: str, people: Sequence[str]) -> float:
    """VizWiz's accuracy: the machine's answer is normalised, people's are taken as they are in the file.

    >>> vizwiz("The lotion.", ["lotion"] * 4 + ["cream"] * 6), vizwiz("Lotion", ["Lotion"] * 10)
    (1.0, 0.0)
    """
    return agreement(plain_words(without_punctuation(one_line(answer)), CURLY), people)
