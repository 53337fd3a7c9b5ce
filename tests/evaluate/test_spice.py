"""SPICE: facts read off a parse, graphs in which synonyms are one, and F1; and the reader of WordNet below it."""

from __future__ import annotations

from pathlib import Path

import pytest

from isthmus.evaluate.metrics import scene_graph, spice, wordnet

INDEX = """  1 The licence.
dog n 1 1 @ 1 1 00000001
cat n 1 1 @ 1 0 00000002
sofa n 1 1 @ 1 0 00000003
couch n 2 1 @ 2 0 00000003 00000004
leaf n 1 1 @ 1 0 00000005
leave n 1 1 @ 1 0 00000006
"""
EXCEPTIONS = "leaves leaf\noxen ox\n"


@pytest.fixture(autouse=True)
def _small_wordnet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in wordnet.FILES.values():
        (tmp_path / f"index.{name}").write_text(INDEX if name == "noun" else "")
        (tmp_path / f"{name}.exc").write_text(EXCEPTIONS if name == "noun" else "")
    (tmp_path / "data.noun").write_text("")
    monkeypatch.setattr(wordnet, "_folder", lambda: tmp_path)
    caches = (wordnet._index, wordnet._exceptions, spice._senses)
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()


def test_base_forms_follow_morphy() -> None:
    assert wordnet.bases("dogs", "n") == ["dog"]
    assert wordnet.bases("leaves", "n") == ["leaf"], "an exception has no rules beside it"
    assert [wordnet.lemma(word) for word in ("dogs", "Dogs", "oxen", "cat")] == ["dog", "Dogs", "oxen", "cat"]
    assert wordnet.related("sofas", "couch")
    assert not wordnet.related("dog", "cat")
    assert wordnet.senses("Sofas") == wordnet.synsets("sofa")
    assert wordnet.senses("leaves") == wordnet.synsets("leaf"), "an exception"
    assert wordnet.senses("doger") == wordnet.synsets("dog"), "METEOR's rules know no part of speech"


def test_what_a_noun_is_a_kind_of(tmp_path: Path) -> None:
    first = "00000000 05 n 01 dog 0 002 @ 00000099 n 0000 ~ 00000098 n 0000 | a pet\n"
    (tmp_path / "data.noun").write_text(first)
    assert wordnet.hypernyms(("n", 0)) == [("n", 99)]


@pytest.mark.parametrize(
    ("said", "told", "expected"),
    [
        ([("dog",)], [("dog",)], 1.0),
        ([("dog",)], [("cat",)], 0.0),
        ([], [("cat",)], 0.0),
        ([("sofa",)], [("couch",)], 1.0),
        ([("dog", "black"), ("dog",)], [("dog", "white")], 2 * 0.5 * 0.5 / 1.0),
        ([("dog", "on", "sofa")], [("dog", "be on", "couch")], 1.0),
        ([("dog", "on", "sofa")], [("sofa", "on", "dog")], 2 / 3),
        ([("dog",), ("dog",)], [("dog",), ("cat",)], 2 * 1 * 0.5 / 1.5),
    ],
)
def test_f1_of_shared_facts(said: list[tuple[str, ...]], told: list[tuple[str, ...]], expected: float) -> None:
    assert spice.f1(said, told) == pytest.approx(expected)


def test_synonyms_in_the_references_become_one_thing() -> None:
    told = [("sofa", "red"), ("couch", "old"), ("dog", "on", "sofa"), ("dog", "on", "couch")]
    shown = spice.Graph(told).tuples()
    assert sorted(len(one) for one in shown) == [1, 1, 2, 2, 3]
    assert {"sofa", "couch"} in [one[0].words for one in shown]


def parse(rows: str) -> list[scene_graph.Fact]:
    """The facts of a parse: a line of word, tag, lemma, relation and head for each token."""
    spacy = pytest.importorskip("spacy")
    words, tags, lemmas, relations, heads = zip(*(row.split() for row in rows.split("\n") if row.strip()), strict=True)
    doc = spacy.tokens.Doc(
        spacy.blank("en").vocab, words=list(words), tags=list(tags), lemmas=list(lemmas), deps=list(relations),
        heads=[words.index(head) for head in heads],
    )  # fmt: skip
    return [fact for sentence in doc.sents for fact in scene_graph._of(sentence)]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (
            "two CD two nummod men\nmen NNS man nsubj ride\nride VBP ride ROOT ride\na DT a det horse\n"
            "brown JJ brown amod horse\nhorse NN horse dobj ride\non IN on prep ride\nsand NN sand pobj on",
            {("man", "ride", "horse"), ("man", "ride on", "sand"), ("horse", "brown"), ("man", "two")}
            | {("man",), ("horse",), ("sand",)},
        ),
        (
            "bus NN bus ROOT bus\nparked VBN park acl bus\nin IN in prep parked\nfront NN front pobj in\n"
            "of IN of prep front\nhouse NN house pobj of",
            {("bus", "park in front of", "house"), ("bus",), ("front",), ("house",)},
        ),
        (
            "man NN man nsubj is\nis VBZ be ROOT is\ntall JJ tall acomp is\nand CC and cc tall\nold JJ old conj tall",
            {("man", "tall"), ("man", "old"), ("man",)},
        ),
        (
            "there EX there expl is\nis VBZ be ROOT is\ntable NN table attr is\nwith IN with prep table\n"
            "cups NNS cup pobj with\nand CC and cc cups\nforks NNS fork conj cups",
            {("table", "with", "cup"), ("table", "with", "fork"), ("table",), ("cup",), ("fork",)},
        ),
        (
            "ball NN ball nsubjpass thrown\nis VBZ be auxpass thrown\nthrown VBN throw ROOT thrown\n"
            "by IN by agent thrown\nboy NN boy pobj by",
            {("boy", "throw", "ball"), ("ball",), ("boy",)},
        ),
        (
            "a DT a det couple\ncouple NN couple nsubj wait\nof IN of prep couple\ntrucks NNS truck pobj of\n"
            "wait VBP wait ROOT wait",
            {("truck", "wait"), ("truck", "a"), ("couple",), ("truck",)},
        ),
        (
            "woman NN woman nsubj holds\nholds VBZ hold ROOT holds\nher PRP$ her poss bag\n"
            "leather NN leather compound bag"
            "\nbag NN bag dobj holds",
            {("woman", "hold", "bag"), ("woman", "have", "bag"), ("bag", "leather"), ("woman",)},
        ),
    ],
    ids=["verb", "three words", "adjectives", "there is", "passive", "a couple of", "pronoun and compound"],
)
def test_facts_are_read_off_a_parse(rows: str, expected: set[scene_graph.Fact]) -> None:
    assert set(parse(rows)) == expected


@pytest.mark.slow
def test_captions_are_scored_by_what_they_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    references = [["a man is riding a brown horse", "a person on a horse"]] * 3
    same, near, other = spice.spice(["a man riding a brown horse", "a horse", "two cats on a red couch"], references)
    assert same > near > other == 0
