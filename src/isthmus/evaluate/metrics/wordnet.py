"""WordNet 3.0 (Miller, 1995): which sets of synonyms a word is in, its base forms, and what it is a kind of.

The part `wordnet` is Debian's package. NLTK's own reader wants files of its `nltk_data` that Debian leaves out, so
the index and exception files are read here; base forms follow WordNet's morphy(7) as NLTK does it.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from pathlib import Path

from isthmus import parts
from isthmus.errors import PartUnavailable

Synset = tuple[str, int]  # part of speech, and the offset in its data file
FILES = {"n": "noun", "v": "verb", "a": "adj", "r": "adv"}
ENDINGS = {
    "n": "s: ses:s ves:f xes:x zes:z ches:ch shes:sh men:man ies:y",
    "v": "s: ies:y es:e es: ed:e ed: ing:e ing:",
    "a": "er: est: er:e est:e",
    "r": "",
}
RULES = {pos: [tuple(rule.split(":")) for rule in rules.split()] for pos, rules in ENDINGS.items()}


def synsets(word: str, pos: str = "") -> frozenset[Synset]:
    """The sets of synonyms that a word in its base form is in, of one part of speech or of all.

    >>> len(synsets("dog", "n")), synsets("couch", "n") & synsets("sofa", "n") != frozenset()  # doctest: +SKIP
    (7, True)
    """
    word = word.lower().replace(" ", "_")
    return frozenset((one, offset) for one in pos or FILES for offset in _index(one).get(word, ()))


def bases(word: str, pos: str) -> list[str]:
    """The base forms of a word that WordNet knows, itself among them where it is one; the likeliest rule first.

    >>> bases("leaves", "n"), bases("was", "v")  # doctest: +SKIP
    (['leaf', 'leave'], ['be'])
    """
    if word in _exceptions(pos):
        forms = _exceptions(pos)[word]
    else:
        forms = [word[: -len(old)] + new for old, new in RULES[pos] if word.endswith(old)]
    return list(dict.fromkeys(form for form in (word, *forms) if form in _index(pos)))


def lemma(word: str, pos: str = "n") -> str:
    """The shortest base form, as NLTK's `WordNetLemmatizer` has it; the word itself where WordNet knows none.

    >>> lemma("dogs"), lemma("churches"), lemma("Dogs")  # doctest: +SKIP
    ('dog', 'church', 'Dogs')
    """
    return min(bases(word, pos), key=len, default=word)


def senses(word: str) -> frozenset[Synset]:
    """The sets of synonyms of a word and of its base form, whatever the part of speech of either, as METEOR has them.

    The base form is that of an exception, else that of the first rule which gives a word that WordNet knows.
    """
    word = word.lower().replace(" ", "_")
    forms = [base for pos in FILES for base in _exceptions(pos).get(word, ())]
    if not forms and len(word) > 2 and not word.endswith("ss"):
        rules = (word[: -len(old)] + new for pos in FILES for old, new in RULES[pos] if word.endswith(old))
        forms = [form for form in rules if synsets(form)][:1]
    return synsets(word).union(*map(synsets, forms))


def hypernyms(synset: Synset) -> list[Synset]:
    """What a noun's set of synonyms is a kind of, nearest first in the file's order."""
    pos, offset = synset
    with (_folder() / f"data.{FILES[pos]}").open("rb") as file:
        file.seek(offset)
        fields = file.readline().split(b" |")[0].decode().split()
    if not fields or int(fields[0]) != offset:
        raise PartUnavailable(f"{file.name} has no set of synonyms at {offset}")
    words = int(fields[3], 16)
    pointers = fields[5 + 2 * words :]
    return [
        (pointers[i + 2], int(pointers[i + 1]))
        for i in range(0, 4 * int(fields[4 + 2 * words]), 4)
        if pointers[i][0] == "@"
    ]


def related(first: str, second: str, pos: str = "n") -> bool:
    """Whether two words can mean the same: they are equal, or share a set of synonyms."""
    return first == second or bool(_of_bases(first, pos) & _of_bases(second, pos))


def _of_bases(word: str, pos: str) -> frozenset[Synset]:
    return frozenset().union(*(synsets(base, pos) for base in bases(word.lower(), pos)))


def _folder() -> Path:
    return parts.get("wordnet") / "usr/share/wordnet"


@functools.cache
def _index(pos: str) -> dict[str, tuple[int, ...]]:
    """For each word its sets of synonyms, by their offsets: the last fields of wndb(5)'s index lines."""
    found = {}
    for line in _lines(f"index.{FILES[pos]}"):
        if not line.startswith(" "):  # the licence
            fields = line.split()
            found[fields[0]] = tuple(map(int, fields[-int(fields[2]) :]))
    return found


@functools.cache
def _exceptions(pos: str) -> dict[str, list[str]]:
    """Irregular forms and their base forms."""
    return {fields[0]: fields[1:] for fields in map(str.split, _lines(f"{FILES[pos]}.exc")) if fields}


def _lines(name: str) -> Iterable[str]:
    return (_folder() / name).read_text(encoding="utf-8").splitlines()
