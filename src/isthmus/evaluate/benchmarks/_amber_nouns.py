"""The things that a description names, held against what AMBER's annotators saw in the picture, and did not.

The authors take nouns by NLTK's tagger, and two words for synonyms where their vectors in spaCy's `en_core_web_lg` have
a cosine above 0.8. Both are used where they are installed. Where they are not, spaCy's small model tags, and words are
synonyms that share a set of WordNet's: a note says so, since figures then differ from the authors'.
"""

from __future__ import annotations

import functools
import importlib.util
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from isthmus.errors import BadData
from isthmus.evaluate.files import document
from isthmus.evaluate.metrics import wordnet
from isthmus.evaluate.metrics.punkt import tokens

Association = dict[str, list[str]]
Counts = tuple[int, int, int, int, int, int, int, int]
ALIKE = 0.8
LARGE = "en_core_web_lg"


def tables(references: Path) -> tuple[Association, list[str]]:
    """For each word the words that may stand for it, and the safe words, of the authors' folder.

    Raises `BadData` for a file that is missing or in another form.
    """
    files = [references / name for name in ("relation.json", "safe_words.txt")]
    for file in files:
        if not file.exists():
            raise BadData(f"{references}: no file {file.name} in this folder")
    found = document(files[0])
    if not isinstance(found, dict) or not all(isinstance(one, list) for one in found.values()):
        raise BadData(f"{files[0]}: expected {json.dumps({'sea': ['water', 'lake']})} and so on")
    return found, files[1].read_text(encoding="utf-8").splitlines()


class Nouns:
    """Counts the things of a description; `tag` answers the tags of words, `alike` whether two words are synonyms."""

    def __init__(
        self,
        association: Association,
        safe: Sequence[str],
        tag: Callable[[list[str]], list[str]] | None = None,
        alike: Callable[[str, str], bool] | None = None,
    ) -> None:
        self.association = association
        self.safe = set(safe)
        self.known = {word for first, others in association.items() for word in (first, *others)}
        self.tag = tag or _tagger()
        self.alike = alike or _synonyms()

    def notes(self) -> list[str]:
        """What differs from the authors' set-up on this machine."""
        found = []
        if self.tag is _by_spacy:
            found.append(
                "nouns are tagged by spaCy's small model, and by NLTK's tagger in the official code: install its data"
                " (nltk.download('averaged_perceptron_tagger_eng')) for figures as published"
            )
        if self.alike is _by_wordnet:
            found.append(
                f"synonyms are those of WordNet, and words of near vectors in {LARGE} in the official code: install"
                f" {LARGE} for figures as published"
            )
        return found

    def nouns(self, text: str) -> list[str]:
        """The nouns of a text in their base form that AMBER knows, each as often as it is said."""
        words = tokens(text)
        tagged = zip(words, self.tag(words), strict=True)
        bases = (wordnet.lemma(word) for word, tag in tagged if tag.startswith("NN"))
        return [word for word in bases if word in self.known]

    def counts(self, text: str, truth: Sequence[str], hallu: Sequence[str]) -> Counts:
        """What one description adds to each sum.

        These are: invented mentions, mentions; seen things that are named, seen things; expected inventions that are
        named, expected inventions; whether nothing is invented, and 1.

        A mention is right if it is one of the safe words, is or may stand for a thing that was seen, or is a synonym
        of one.
        """
        said = self.nouns(text)
        there, feared = self._words(truth), self._words(hallu)
        named, invented, wrong = set(), set(), 0
        for noun in said:
            if noun in self.safe:
                continue
            if (place := there.get(noun)) is not None:
                named.add(place)
                continue
            if (place := feared.get(noun)) is not None:
                invented.add(place)
            for word, place in self._each(hallu):
                if self.alike(noun, word):
                    invented.add(place)
                    break
            for word, place in self._each(truth):
                if self.alike(noun, word):
                    named.add(place)
                    break
            else:
                wrong += 1
        return wrong, len(said), len(named), len(truth), len(invented), len(hallu), int(not wrong), 1

    def _each(self, things: Sequence[str]) -> list[tuple[str, int]]:
        """The words for things with the thing's place: first all that may stand for one, then the things themselves."""
        try:
            others = [(word, place) for place, thing in enumerate(things) for word in self.association[thing]]
        except KeyError as error:
            raise BadData(f"relation.json has no word {error}, which annotations.json has") from error
        return others + [(thing, place) for place, thing in enumerate(things)]

    def _words(self, things: Sequence[str]) -> dict[str, int]:
        """The first place of each word for a thing."""
        found: dict[str, int] = {}
        for word, place in self._each(things):
            found.setdefault(word, place)
        return found


def _tagger() -> Callable[[list[str]], list[str]]:
    """NLTK's tagger where its data are installed, else spaCy's."""
    import nltk

    try:
        nltk.data.find("taggers/averaged_perceptron_tagger_eng")
    except LookupError:
        return _by_spacy
    return _by_nltk


def _by_nltk(words: list[str]) -> list[str]:
    import nltk

    return [tag for _, tag in nltk.pos_tag(words)]


def _by_spacy(words: list[str]) -> list[str]:
    from isthmus.evaluate.metrics.scene_graph import english

    return [token.tag_ for token in english().from_words(words)]


def _synonyms() -> Callable[[str, str], bool]:
    """The vectors of spaCy's large model where it is installed, else WordNet."""
    if importlib.util.find_spec("spacy") is None or importlib.util.find_spec(LARGE) is None:
        return _by_wordnet
    return _by_vectors


@functools.cache
def _by_wordnet(first: str, second: str) -> bool:
    return wordnet.related(first, second)


@functools.cache
def _by_vectors(first: str, second: str) -> bool:
    return bool(_said(first).similarity(_said(second)) > ALIKE)


@functools.cache
def _said(word: str) -> Any:
    return _large()(word)


@functools.cache
def _large() -> Any:
    import spacy

    return spacy.load(LARGE)
