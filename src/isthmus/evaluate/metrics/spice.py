"""SPICE: how many facts a caption and its references share (Anderson et al., 2016, arXiv:1607.08822).

Facts are read off a parse (`scene_graph`), joined into one graph for the candidate and one for all references, where
things that can mean the same are one, and compared: a fact is shared if each of its words is the same or has a set of
WordNet's synonyms in common. Of the same facts this makes what the original makes; but that parses with Stanford's
CoreNLP and this with spaCy, so that facts, and a caption's score, may differ.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from isthmus.evaluate.metrics import wordnet
from isthmus.evaluate.metrics.scene_graph import Fact, facts


@dataclass(eq=False)
class Concept:
    """Words that mean one thing here, and the sets of synonyms that they are in."""

    words: set[str]
    senses: set[wordnet.Synset]

    def like(self, other: Concept) -> bool:
        return bool(self.words & other.words or self.senses & other.senses)

    def same(self, other: Concept) -> bool:
        return self.words == other.words and self.senses == other.senses

    def nearness(self, other: Concept) -> float:
        """1 with a word in common, else what share of the senses of both they have in common."""
        if self.words & other.words:
            return 1.0
        every = len(self.senses | other.senses)
        return len(self.senses & other.senses) / every if every else 0.0

    def merge(self, other: Concept) -> None:
        self.words |= other.words
        self.senses |= other.senses


@dataclass(eq=False)
class Thing:
    """A thing and how it is."""

    name: Concept
    attributes: list[Concept] = field(default_factory=list)


Shared = tuple[Concept, ...]


class Graph:
    """Things and their relations; what is added joins what means the same."""

    def __init__(self, said: Iterable[Fact]) -> None:
        self.things: list[Thing] = []
        self.relations: list[tuple[Thing, Concept, Thing]] = []
        for fact in said:
            if len(fact) == 3:
                self._relate(self._thing(fact[0]), fact[1], self._thing(fact[2]))
            elif len(fact) == 2:
                self._describe(self._thing(fact[0]), fact[1])
            else:
                self._thing(fact[0])

    def _thing(self, word: str) -> Thing:
        """The thing of this name, or the nearest that may mean the same, which then has this name too."""
        new, best, nearest = _concept(word), None, 0.0
        for thing in self.things:
            if new.same(thing.name):
                return thing
            if (near := new.nearness(thing.name)) > nearest:
                best, nearest = thing, near
        if best is None:
            best = Thing(new)
            self.things.append(best)
        best.name.merge(new)
        return best

    def _describe(self, thing: Thing, word: str) -> None:
        _join(thing.attributes, _concept(word))

    def _relate(self, first: Thing, word: str, second: Thing) -> None:
        between = [relation for one, relation, other in self.relations if one is first and other is second]
        count, new = len(between), _concept(re.sub("^be ", "", word))
        _join(between, new)
        if len(between) > count:
            self.relations.append((first, new, second))

    def tuples(self) -> list[Shared]:
        """All facts: things, how they are, and how they are related."""
        found: list[Shared] = []
        for thing in self.things:
            found += [(thing.name,), *((thing.name, attribute) for attribute in thing.attributes)]
        return found + [(first.name, relation, second.name) for first, relation, second in self.relations]


def spice(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
    """The F1 of each candidate's facts against those of its references, from 0 to 1.

    >>> spice(["a man rides a horse"], [["a man is riding a horse", "a person on a horse"]])  # doctest: +SKIP
    [0.857...]
    """
    every = list(dict.fromkeys([*candidates, *(text for texts in references for text in texts)]))
    said = dict(zip(every, facts(every), strict=True))
    return [
        f1(said[text], [fact for other in texts for fact in said[other]])
        for text, texts in zip(candidates, references, strict=True)
    ]


def f1(said: Iterable[Fact], told: Iterable[Fact]) -> float:
    """F1 of the facts that a candidate says against those that its references tell; 0 where either says nothing.

    >>> f1([("dog",)], [("dog",), ("cat",)])  # doctest: +SKIP
    0.6666666666666666
    """
    ours, theirs = Graph(said).tuples(), Graph(told).tuples()
    hits = sum(any(_agree(one, other) for other in theirs) for one in ours)
    if not hits:
        return 0.0
    precision, recall = hits / len(ours), hits / len(theirs)
    return 2 * precision * recall / (precision + recall)


def shown(text: str) -> list[Fact]:
    """The facts of one text after joining, to look at: words that were joined stand beside a slash.

    >>> shown("A black dog sits on a couch.")  # doctest: +SKIP
    [('dog',), ('dog', 'black'), ('couch',), ('dog', 'sit on', 'couch')]
    """
    joined = Graph(facts([text])[0]).tuples()
    return [tuple("/".join(sorted(concept.words)) for concept in one) for one in joined]


def _agree(one: Shared, other: Shared) -> bool:
    return len(one) == len(other) and all(a.like(b) for a, b in zip(one, other, strict=True))


def _join(concepts: list[Concept], new: Concept) -> None:
    """Add a concept, or join it to the first that may mean the same."""
    if any(new.same(concept) for concept in concepts):
        return
    for concept in concepts:
        if new.like(concept):
            concept.merge(new)
            return
    concepts.append(new)


def _concept(word: str) -> Concept:
    return Concept({word}, set(_senses(word)))


@functools.lru_cache(maxsize=65536)
def _senses(word: str) -> frozenset[wordnet.Synset]:
    return wordnet.senses(word.strip())
