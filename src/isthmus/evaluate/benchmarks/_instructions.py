"""The 25 kinds of instruction of IFEval that a program can check (Zhou et al., 2023, arXiv:2311.07911, table 1).

Each is a function of an answer and of what the instruction asks for, by the names of its `kwargs`.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from isthmus.errors import BadData

Asks = Mapping[str, Any]
ALLOWED = ("My answer is yes.", "My answer is no.", "My answer is maybe.")
MARKERS = {"P.P.S": r"p\.\s?p\.\s?s", "P.S.": r"p\.\s?s\."}
FENCES = ("```json", "```Json", "```JSON", "```")


class CannotJudge(Exception):
    """What an instruction's check needs is not here."""


def compared(count: int, relation: str, bound: int) -> bool:
    """Whether a count is on the side of a bound that a relation names.

    >>> compared(3, "less than", 3), compared(3, "at least", 3)
    (False, True)
    """
    if relation not in ("less than", "at least"):
        raise BadData(f"the relation {relation!r} is neither 'less than' nor 'at least'")
    return count < bound if relation == "less than" else count >= bound


def keywords_exist(said: str, asks: Asks) -> bool:
    """All keywords occur; they are patterns, whatever the case."""
    return all(_found(keyword, said) for keyword in asks["keywords"])


def keyword_frequency(said: str, asks: Asks) -> bool:
    """One keyword occurs often or rarely enough."""
    return compared(len(_found(asks["keyword"].strip(), said)), asks["relation"], asks["frequency"])


def words_forbidden(said: str, asks: Asks) -> bool:
    """None of the words occurs as a word."""
    return not any(_found(rf"\b{word}\b", said) for word in asks["forbidden_words"])


def letter_frequency(said: str, asks: Asks) -> bool:
    """One letter, large or small, occurs often or rarely enough."""
    return compared(said.lower().count(asks["letter"].strip().lower()), asks["let_relation"], asks["let_frequency"])


def in_language(said: str, asks: Asks) -> bool:
    """The whole is in one language; what has none counts as such."""
    return language(said) in (asks["language"], "")


def sentences(said: str, asks: Asks) -> bool:
    """The number of sentences, as NLTK's Punkt divides them."""
    try:
        count = len(_punkt().tokenize(said))
    except LookupError as error:
        raise CannotJudge(_punkt_missing()) from error
    return compared(count, asks["relation"], asks["num_sentences"])


def paragraphs(said: str, asks: Asks) -> bool:
    """The number of paragraphs between lines of ***, none of them empty but the first and the last.

    >>> paragraphs("a\\n***\\nb", {"num_paragraphs": 2}), paragraphs("a *** *** b", {"num_paragraphs": 2})
    (True, False)
    """
    own = re.split(r"\s?\*\*\*\s?", said)
    empty = [place for place, one in enumerate(own) if not one.strip()]
    ends = {0, len(own) - 1}
    return {*empty} <= ends and len(own) - len(empty) == int(asks["num_paragraphs"])


def words(said: str, asks: Asks) -> bool:
    """The number of words."""
    return compared(len(re.findall(r"\w+", said)), asks["relation"], asks["num_words"])


def paragraph_begins(said: str, asks: Asks) -> bool:
    """So many paragraphs between empty lines, of which the nth begins with a word.

    >>> paragraph_begins("One.\\n\\nTwo, then", {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "two"})
    True
    """
    every = said.split("\n\n")
    count, place = sum(bool(one.strip()) for one in every), int(asks["nth_paragraph"])
    if place > count or not every[place - 1].strip():
        return False
    word = every[place - 1].split()[0].lstrip("'").lstrip('"')
    first = "".join(letter.lower() for letter in re.split(r"[.,?!'\"]", word)[0])  # a sigma stays what it is inside
    return count == asks["num_paragraphs"] and first == str(asks["first_word"]).lower()


def placeholders(said: str, asks: Asks) -> bool:
    """At least so many [places to be filled]."""
    return len(re.findall(r"\[.*?\]", said)) >= int(asks["num_placeholders"])


def postscript(said: str, asks: Asks) -> bool:
    """Something behind P.S. or what else marks it."""
    marker = asks["postscript_marker"].strip()
    return bool(_pattern(MARKERS.get(marker, marker.lower())).search(said.lower()))


def bullets(said: str, asks: Asks) -> bool:
    """Exactly so many lines that begin with an asterisk, no second behind it, or a hyphen."""
    stars, dashes = (re.findall(own, said, re.MULTILINE) for own in (r"^\s*\*[^\*].*$", r"^\s*-.*$"))
    return len(stars) + len(dashes) == int(asks["num_bullets"])


def one_of_three(said: str, asks: Asks) -> bool:
    """One of the three answers that are allowed stands in it."""
    return any(one in said for one in ALLOWED)


def highlights(said: str, asks: Asks) -> bool:
    """At least so many *highlights*; one in two asterisks counts in both ways."""
    single = [one for one in re.findall(r"\*[^\n\*]*\*", said) if one.strip("*").strip()]
    double = [one for one in re.findall(r"\*\*[^\n\*]*\*\*", said) if one[2:-2].strip()]
    return len(single) + len(double) >= int(asks["num_highlights"])


def sections(said: str, asks: Asks) -> bool:
    """At least so many numbered sections."""
    own = _pattern(rf"\s?{asks['section_spliter'].strip()}\s?\d+\s?")
    return len(own.split(said)) - 1 >= int(asks["num_sections"])


def is_json(said: str, asks: Asks) -> bool:
    """The whole is JSON, within a fence or without."""
    own = said.strip()
    for fence in FENCES:
        own = own.removeprefix(fence)
    try:
        json.loads(own.removesuffix("```").strip())
    except (ValueError, RecursionError):
        return False
    return True


def title(said: str, asks: Asks) -> bool:
    """A title in <<double angular brackets>>."""
    return any(one.lstrip("<").rstrip(">").strip() for one in re.findall(r"<<[^\n]+>>", said))


def two_responses(said: str, asks: Asks) -> bool:
    """Two different answers with six asterisks between.

    >>> two_responses("a ****** b", {}), two_responses("a ****** a", {}), two_responses("a", {})
    (True, False, False)
    """
    own = [one.strip() for one in said.split("******")]
    inner, full = own[1:-1], [one for one in own if one]
    return all(inner) and len(full) == 2 and full[0] != full[1]


def prompt_repeated(said: str, asks: Asks) -> bool:
    """The question comes first, whatever the case."""
    return said.strip().lower().startswith(str(asks["prompt_to_repeat"]).strip().lower())


def ends_with(said: str, asks: Asks) -> bool:
    """The last words, whatever the case; quotation marks around the whole are left out."""
    return said.strip().strip('"').lower().endswith(str(asks["end_phrase"]).strip().lower())


def capital_words(said: str, asks: Asks) -> bool:
    """The number of words in capitals, as NLTK divides a text into words."""
    import nltk

    try:
        count = sum(word.isupper() for word in nltk.word_tokenize(said))
    except LookupError as error:
        raise CannotJudge(_punkt_missing()) from error
    return compared(count, asks["capital_relation"], asks["capital_frequency"])


def english_capitals(said: str, asks: Asks) -> bool:
    """English, all in capitals."""
    return said.isupper() and language(said) in ("en", "")


def english_lowercase(said: str, asks: Asks) -> bool:
    """English, all in small letters."""
    return said.islower() and language(said) in ("en", "")


def no_comma(said: str, asks: Asks) -> bool:
    """No comma."""
    return "," not in said


def quoted(said: str, asks: Asks) -> bool:
    """Double quotation marks around the whole."""
    own = said.strip()
    return len(own) > 1 and own[0] == own[-1] == '"'


Check = Callable[[str, Asks], bool]
CHECKS: dict[str, tuple[Check, tuple[str, ...]]] = {
    "keywords:existence": (keywords_exist, ("keywords",)),
    "keywords:frequency": (keyword_frequency, ("keyword", "relation", "frequency")),
    "keywords:forbidden_words": (words_forbidden, ("forbidden_words",)),
    "keywords:letter_frequency": (letter_frequency, ("letter", "let_relation", "let_frequency")),
    "language:response_language": (in_language, ("language",)),
    "length_constraints:number_sentences": (sentences, ("relation", "num_sentences")),
    "length_constraints:number_paragraphs": (paragraphs, ("num_paragraphs",)),
    "length_constraints:number_words": (words, ("relation", "num_words")),
    "length_constraints:nth_paragraph_first_word": (
        paragraph_begins,
        ("num_paragraphs", "nth_paragraph", "first_word"),
    ),
    "detectable_content:number_placeholders": (placeholders, ("num_placeholders",)),
    "detectable_content:postscript": (postscript, ("postscript_marker",)),
    "detectable_format:number_bullet_lists": (bullets, ("num_bullets",)),
    "detectable_format:constrained_response": (one_of_three, ()),
    "detectable_format:number_highlighted_sections": (highlights, ("num_highlights",)),
    "detectable_format:multiple_sections": (sections, ("section_spliter", "num_sections")),
    "detectable_format:json_format": (is_json, ()),
    "detectable_format:title": (title, ()),
    "combination:two_responses": (two_responses, ()),
    "combination:repeat_prompt": (prompt_repeated, ("prompt_to_repeat",)),
    "startend:end_checker": (ends_with, ("end_phrase",)),
    "startend:quotation": (quoted, ()),
    "change_case:capital_word_frequency": (capital_words, ("capital_relation", "capital_frequency")),
    "change_case:english_capital": (english_capitals, ()),
    "change_case:english_lowercase": (english_lowercase, ()),
    "punctuation:no_comma": (no_comma, ()),
}


def language(said: str) -> str:
    """The language of a text as langdetect names it, with a fixed seed; empty where there is nothing to tell it by."""
    try:
        from langdetect import LangDetectException
    except ImportError as error:
        raise CannotJudge("its language is told by langdetect: pip install 'isthmus[lm-eval]'") from error
    detector = _languages().create()
    try:
        detector.append(said)
        return str(detector.detect())
    except LangDetectException:
        return ""


@functools.cache
def _languages() -> Any:
    from langdetect import PROFILES_DIRECTORY, DetectorFactory

    factory = DetectorFactory()
    factory.load_profile(PROFILES_DIRECTORY)
    factory.seed = 0
    return factory


@functools.cache
def _punkt() -> Any:
    from nltk.tokenize import PunktTokenizer

    return PunktTokenizer("english")


def _punkt_missing() -> str:
    return "NLTK's punkt_tab is not here: python -m nltk.downloader punkt_tab"


def _found(pattern: str, said: str) -> list[str]:
    return _pattern(pattern, re.IGNORECASE).findall(said)


def _pattern(pattern: str, flags: int = 0) -> re.Pattern[str]:
    try:
        return re.compile(pattern, flags)
    except re.error as error:
        raise BadData(f"{pattern!r}, which an instruction names, is no pattern ({error})") from error
