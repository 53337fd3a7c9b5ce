"""What METEOR 1.5 knows of English words: function words, WordNet's synonyms, and a table of paraphrases.

These come with the part `meteor-data`. The table has five million rows, so only those are kept whose two phrases occur
in the texts at hand.
"""

from __future__ import annotations

import functools
import gzip
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from isthmus import parts
from isthmus.evaluate.metrics._porter2 import stem

PART = "meteor-data"
LONGEST = 7  # words of a phrase
BLOCK = 1 << 24  # bytes read at once
NOUNS = {"s": "", "ses": "s", "xes": "x", "zes": "z", "ches": "ch", "shes": "sh", "men": "man", "ies": "y"}
ENDINGS = [
    *NOUNS.items(),
    *(("s", ""), ("ies", "y"), ("es", "e"), ("es", ""), ("ed", "e"), ("ed", ""), ("ing", "e"), ("ing", "")),  # verbs
    *(("er", ""), ("est", ""), ("er", "e"), ("est", "e")),  # adjectives
]
Phrase = tuple[str, ...]


@dataclass(frozen=True)
class Lexicon:
    """Function words; words that keep a dot; irregular forms and their bases; words' synsets; phrases' paraphrases."""

    functions: frozenset[str] = frozenset()
    prefixes: Mapping[str, bool] = field(default_factory=dict)
    bases: Mapping[str, Sequence[str]] = field(default_factory=dict)
    meanings: Mapping[str, frozenset[int]] = field(default_factory=dict)
    phrases: Mapping[Phrase, Sequence[Phrase]] = field(default_factory=dict)

    def stem(self, word: str) -> str:
        return stem(word)

    def synsets(self, word: str) -> frozenset[int]:
        """The synsets of a word and of its bases: irregular ones, or else the first that WordNet's endings lead to."""
        bases = self.bases.get(word) or [self._base(word)]
        return frozenset().union(*(self.meanings.get(one, frozenset()) for one in (word, *bases)))

    def _base(self, word: str) -> str:
        if word.endswith("ss") or len(word) <= 2:
            return word
        for ending, instead in ENDINGS:
            base = word.removesuffix(ending) + instead
            if word.endswith(ending) and base in self.meanings:
                return base + "ful" * word.endswith("ful")
        return ""

    def paraphrases(self, words: Sequence[str], start: int) -> list[tuple[int, Phrase]]:
        """For the phrases that begin at `start`, the shortest first: their length and a paraphrase."""
        found = []
        for length in range(1, min(LONGEST, len(words) - start) + 1):
            found += [(length, one) for one in self.phrases.get(tuple(words[start : start + length]), ())]
        return found


def lexicon(texts: Iterable[Sequence[str]], folder: Path | None = None) -> Lexicon:
    """The lexicon for texts, each as words; raises `PartUnavailable` where the part cannot be fetched."""
    place = folder or parts.get(PART)
    known = tables(place)
    return Lexicon(known.functions, known.prefixes, known.bases, known.meanings, _phrases(texts, place))


@functools.cache
def tables(folder: Path | None = None) -> Lexicon:
    """All but the paraphrases: lists that lie in the archive of METEOR's program, of whose code nothing is used."""
    with zipfile.ZipFile(next((folder or parts.get(PART)).glob("**/meteor-1.5.jar"))) as archive:
        functions, prefixes, exceptions, synsets = (
            archive.read(name).decode("utf-8", "replace").split("\n")
            for name in (
                "function/english.words",
                "nonbreaking/english.prefixes",
                "synonym/english.exceptions",
                "synonym/english.synsets",
            )
        )
    bases: dict[str, list[str]] = defaultdict(list)
    for base, forms in zip(exceptions[::2], exceptions[1::2], strict=False):
        for form in forms.split():
            bases[form].append(base)
    meanings = {
        word: frozenset(map(int, numbers.split()))
        for word, numbers in zip(synsets[::2], synsets[1::2], strict=False)
        if "_" not in word  # what is matched is single words
    }
    marks = [line.split() for line in prefixes if line.strip() and not line.startswith("#")]
    return Lexicon(
        functions=frozenset(word for word in functions if word),
        prefixes={mark[0]: mark[1:2] == ["#NUMERIC_ONLY#"] for mark in marks},
        bases=bases,
        meanings=meanings,
    )


def _phrases(texts: Iterable[Sequence[str]], folder: Path) -> dict[Phrase, list[Phrase]]:
    """The paraphrases among phrases of the texts, in the table's order, on which the search depends."""
    said: set[bytes] = set()
    for words in {tuple(words) for words in texts}:
        coded = [word.encode() for word in words]
        for length in range(1, LONGEST + 1):
            said.update(b" ".join(coded[i : i + length]) for i in range(len(coded) - length + 1))
    found: dict[Phrase, list[Phrase]] = {}
    for one, other in _table(next(folder.glob("**/paraphrase-en.gz"))):
        if one in said and other in said:
            found.setdefault(tuple(one.decode().split()), []).append(tuple(other.decode().split()))
    return found


def _table(path: Path) -> Iterator[tuple[bytes, bytes]]:
    """The rows of the table, each of three lines: a probability, which METEOR does not use, and two phrases."""
    lines: list[bytes] = []
    rest = b""
    with gzip.open(path) as file:
        while block := file.read(BLOCK):
            *fresh, rest = (rest + block).split(b"\n")
            lines += fresh
            whole = len(lines) // 3 * 3
            yield from zip(lines[1:whole:3], lines[2:whole:3], strict=True)
            lines = lines[whole:]
