"""Caption metrics against figures worked by hand or by the original programs, and COCO's forms of files."""

from __future__ import annotations

import gzip
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from isthmus import parts
from isthmus.errors import BadData, PartUnavailable
from isthmus.evaluate.benchmarks import coco_captions, score
from isthmus.evaluate.metrics import _meteor_data, bleu, cider, meteor, ptb, rouge
from isthmus.evaluate.metrics._meteor_align import PARAPHRASE, STEM, SYNONYM, Match, align
from isthmus.evaluate.metrics._meteor_data import Lexicon
from isthmus.evaluate.metrics._meteor_normal import normal
from isthmus.evaluate.metrics._porter2 import stem

SAID = ["a cat sits on the mat", "two dogs run in a park", "a man rides a wave"]
TRUE = [
    ["the cat is on the mat", "a cat sits on a red mat"],
    ["two dogs are running in the park", "dogs run"],
    ["a surfer rides a big wave", "a man on a wave"],
]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A man's half-eaten pizza.", "a man 's half-eaten pizza"),
        ("I can't, won't and CANNOT!", "i ca n't wo n't and can not"),
        ("He\u2019d say “it\u2019s 5 o'clock, don\u2019t”", "he 'd say it 's 5 o'clock do n't"),
        ("the dogs' bowls (two) [2]", "the dogs bowls -lrb- two -rrb- -lsb- 2 -rsb-"),
        ("at 5 p.m. in the U.S. The end.", "at 5 p.m. in the u.s. the end"),
        ("Mr. Smith on Main St. at a bench.", "mr. smith on main st. at a bench"),
        ("on a bench., while others wait", "on a bench. while others wait"),
        ("a No. 5 jersey, and no. I see", "a no. 5 jersey and no i see"),
        ("plan b. The dog and plan c. go", "plan b the dog and plan c. go"),
        ("$5.50 is 50% of 11,000 or 1/2", "$ 5.50 is 50 % of 11,000 or 1/2"),
        ("10:30am in the '80s or 1990's", "10:30 am in the '80s or 1990 's"),
        ("rock 'n' roll, y'all 'tis", "rock 'n' roll y' all 't is"),
        ("wow!!! what?! end.Start a--b - c", "wow !!! what ?! end.start a b c"),
        ("£5 & €6 a/b AT&T #tag @home", "# 5 & $ 6 a/b at&t #tag @home"),
        ("café 日本語 😀 ★ a\u200bb so\u00adft", "café 日本語 ★ a b soft"),
        ("one\ntwo\tthree  four", "one two three four"),
        ("", ""),
        (" . ", ""),
    ],
)
def test_words_are_those_of_the_original_tokeniser(text: str, words: str) -> None:
    assert ptb.tokenise([text]) == [words]


def test_bleu_is_of_the_whole_corpus_and_takes_the_closest_reference() -> None:
    sums = bleu.statistics(["a b c", "x y"], [["a b d e", "a b"], ["x y z w v", "q"]])
    # 4 of 5 words; lengths 3 + 2; closest: of 4 and 2 the shorter, 2; of 5 and 1 the nearer, 1
    assert sums.sum(0).tolist() == [4, 2, 0, 0, 5, 3, 1, 0, 5, 3]
    assert bleu.bleu(sums.sum(0), 2) == pytest.approx((4 / 5 * 2 / 3) ** 0.5)
    short = bleu.statistics(["a b"], [["a b c d"]]).sum(0)
    assert bleu.bleu(short, 1) == pytest.approx(np.exp(-1))
    assert bleu.bleu(bleu.statistics([""], [["a"]]).sum(0), 1) == 0


def test_rouge_takes_precision_and_recall_of_different_references() -> None:
    found = rouge.rouge_l(["a b c", "", "x"], [["a b c d e f", "a"], [""], ["y"]])
    assert found == pytest.approx([1, 1, 0])  # P 3/3 of the first, R 1/1 of the second; nothing is like nothing


def test_longest_common_subsequence_is_that_of_the_table() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        one, other = (list(rng.choice(list("abcd"), rng.integers(0, 80))) for _ in range(2))
        table = np.zeros((len(one) + 1, len(other) + 1), int)
        for i, a in enumerate(one):
            for j, b in enumerate(other):
                table[i + 1, j + 1] = table[i, j] + 1 if a == b else max(table[i, j + 1], table[i + 1, j])
        assert rouge.common(one, other) == table[-1, -1]


def _cosines(one: str, other: str, documents: Sequence[Sequence[str]], plain: bool) -> float:
    """CIDEr-D's or CIDEr's cosines of two texts, written out as the paper has them."""
    grams = lambda text, n: [tuple(text.split()[i : i + n]) for i in range(len(text.split()) - n + 1)]
    total = 0.0
    for n in range(1, 5):
        df = {
            g: sum(any(g in grams(r, n) for r in some) for some in documents) for g in grams(one, n) + grams(other, n)
        }
        weights = [
            {g: grams(text, n).count(g) * (np.log(len(documents)) - np.log(max(1, df[g]))) for g in grams(text, n)}
            for text in (one, other)
        ]
        norms = np.prod([np.sqrt(sum(x * x for x in w.values())) for w in weights])
        dot = sum(
            (x if plain else min(x, weights[1].get(g, 0.0))) * weights[1].get(g, 0.0) for g, x in weights[0].items()
        )
        total += dot / norms if norms else 0.0
    lengths = len(grams(one, 2)) - len(grams(other, 2))
    return total if plain else total * np.exp(-(lengths**2) / 72)


@pytest.mark.parametrize("plain", [False, True])
def test_cider_is_the_mean_cosine_over_n_and_references(plain: bool) -> None:
    said, truths = [*SAID, "a a a a man"], [*TRUE, ["a man", "the a a"]]
    want = [
        10 * np.mean([_cosines(s, r, truths, plain) for r in some]) / 4 for s, some in zip(said, truths, strict=True)
    ]
    found = (cider.cider if plain else cider.cider_d)(said, truths)
    assert found == pytest.approx(want, abs=1e-12)
    assert found[3] > 0
    assert cider.cider_d(SAID[:1], TRUE[:1]) == [0.0]


@pytest.mark.parametrize(
    ("word", "root"),
    [("realization", "realiz"), ("vocationally", "vocat"), ("skies", "sky"), ("hopping", "hop"), ("hoped", "hope"),
     ("generously", "generous"), ("yelled", "yell"), ("boy's", "boy"), ("proceed", "proceed")],
)  # fmt: skip
def test_stems_are_those_of_meteors_stemmer(word: str, root: str) -> None:
    assert stem(word) == root


WORDS = Lexicon(
    functions=frozenset({"a", "the", "on", "is"}),
    bases={"sat": ["sit"]},
    meanings={"sofa": frozenset({1}), "couch": frozenset({1, 2}), "sit": frozenset({3}), "perch": frozenset({3})},
    phrases={("next", "to"): [("beside",)], ("beside",): [("next", "to"), ("by",)]},
)


def test_alignment_takes_stems_synonyms_of_bases_and_paraphrases() -> None:
    said = ["the", "cats", "sat", "on", "sofas", "next", "to", "a", "dog"]
    reference = ["a", "cat", "perch", "beside", "a", "dog", "couch"]
    matches, chunks = align(said, reference, WORDS)
    assert Match(STEM, 1, 1, 1, 1) in matches
    assert Match(SYNONYM, 2, 1, 2, 1) in matches  # sat: sit, perch
    assert Match(SYNONYM, 6, 1, 4, 1) in matches  # sofas: sofa, couch
    assert not any(match.module == PARAPHRASE and match.length_said == 1 for match in matches)
    assert Match(PARAPHRASE, 3, 1, 5, 2) in matches
    assert chunks == 3  # cats sat; next to a dog; sofas


def test_meteor_counts_the_best_reference_and_a_perfect_caption_is_one() -> None:
    sums = meteor.statistics(["a cat sat", "a dog"], [["a cat sat", "the dog"], ["dogs", "a dog"]], WORDS)
    assert meteor.meteor_of(sums).tolist() == [1, 1]
    assert sums[:, -1].tolist() == [0, 0]  # a perfect caption adds no chunk to a corpus's figure
    # the cat on sofa / a cat couch: exact 1 of content, synonym 1: .75 (1 + .8); lengths 2 x .75 + 2 x .25 and 1.75
    found = meteor.meteor(["the cat on sofa"], [["a cat couch"]], WORDS)[0]
    precision, recall = 1.35 / 2, 1.35 / 1.75
    assert found == pytest.approx(1 / (0.15 / precision + 0.85 / recall) * (1 - 0.6 * (2 / 2) ** 0.2))
    assert meteor.meteor(["", "x"], [["a"], ["y"]], WORDS) == [0, 0]


def test_normaliser_parts_hyphens_and_dots() -> None:
    words = normal("a well-known u.s. st. bernard's no. 5 a.b", {"st": False, "no": True})
    assert " ".join(words) == "a well known us st. bernard 's no. 5 a.b"
    assert " ".join(normal("end. Wait... 5,000 'x' \u2013", {})) == "end . wait ... 5,000 ' x ' -"
    assert normal("inc. and", {}) == ["inc.", "and"]  # no sentence begins with a small letter
    assert normal("", {}) == []


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A part with a handful of words in the files' own form."""
    folder = tmp_path / "meteor-data" / "meteor"
    folder.mkdir(parents=True)
    with zipfile.ZipFile(folder / "meteor-1.5.jar", "w") as jar:
        jar.writestr("function/english.words", "a\nthe\n")
        jar.writestr("nonbreaking/english.prefixes", "#titles\nMr\nNo #NUMERIC_ONLY#\n\n")
        jar.writestr("synonym/english.exceptions", "man\nmen\n")
        jar.writestr("synonym/english.synsets", "man\n7\nguy\n7 8\n")
    table = "0.5\na lot of\nmany\n0.1\nmany\nfew\n0.1\nmany\na lot of\n"
    (folder / "paraphrase-en.gz").write_bytes(gzip.compress(table.encode()))
    _meteor_data.tables.cache_clear()
    monkeypatch.setattr(parts, "get", lambda name: {"meteor-data": folder.parent}[name])
    yield folder
    _meteor_data.tables.cache_clear()


def test_lexicon_holds_what_the_texts_need(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_meteor_data, "BLOCK", 5)  # rows that lie across blocks are read whole
    known = _meteor_data.lexicon([["a", "lot", "of", "men"], ["many", "guys"]])
    assert known.phrases == {("a", "lot", "of"): [("many",)], ("many",): [("a", "lot", "of")]}
    assert known.prefixes == {"Mr": False, "No": True}
    assert known.synsets("men") & known.synsets("guys") == {7}
    assert known.paraphrases(["so", "many"], 1) == [(1, ("a", "lot", "of"))]


def write(path: Path, value: object) -> Path:
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return path


ANNOTATIONS = {
    "images": [{"id": i} for i in range(4)],
    "annotations": [{"image_id": i, "caption": f"{text}."} for i, some in enumerate(TRUE) for text in some]
    + [{"image_id": 3, "id": 99, "caption": "never captioned"}],
}  # fmt: skip
RESULTS = [{"image_id": i, "caption": text.capitalize()} for i, text in enumerate(SAID)]


@pytest.fixture(autouse=True)
def no_spice(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> list[float]:
        raise PartUnavailable("spacy is needed for this")

    monkeypatch.setattr(coco_captions, "_spice", missing)


@pytest.fixture
def no_meteor(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Path:
        raise PartUnavailable(f"{name} could not be fetched")

    monkeypatch.setattr(parts, "get", missing)


FORMS = {
    "results": RESULTS,
    "by picture": {str(i): text for i, text in enumerate(SAID)},
    "lists by picture": {str(i): [text] for i, text in enumerate(SAID)},
    "lines": "\n".join(json.dumps({"ID": i, "Prediction": text}) for i, text in enumerate(SAID)),
    "files' names": [{"image": f"COCO_val2014_{i:012}.jpg", "text": text} for i, text in enumerate(SAID)],
}


@pytest.mark.usefixtures("no_meteor")
@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_results_gives_the_same_figures(form: str, tmp_path: Path) -> None:
    said = write(tmp_path / ("p.jsonl" if form == "lines" else "p.json"), FORMS[form])
    found = score("coco-captions", said, write(tmp_path / "r.json", ANNOTATIONS))
    assert list(found.metrics) == ["bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l", "cider"]
    assert found.metrics["cider"].value == pytest.approx(np.mean(cider.cider_d(SAID, TRUE)))
    assert found.metrics["bleu_4"].value == pytest.approx(float(bleu.bleu(bleu.statistics(SAID, TRUE).sum(0))))
    assert {figure.n for figure in found.metrics.values()} == {3}
    assert not found.unscored
    assert any("1 pictures of the references have no caption" in note for note in found.notes)
    assert [note.split()[0] for note in found.notes if "left out" in note] == ["meteor", "spice"]


TRUTHS = {
    "by picture": {str(i): some for i, some in enumerate(TRUE)},
    "rows": [{"image_id": i, "caption": text} for i, some in enumerate(TRUE) for text in some],
    "karpathy": {"images": [{"cocoid": i, "sentences": [{"raw": t} for t in some]} for i, some in enumerate(TRUE)]},
    "table": "image_id\tcaption\n" + "\n".join(f"{i}\t{text}" for i, some in enumerate(TRUE) for text in some),
}


@pytest.mark.usefixtures("no_meteor")
@pytest.mark.parametrize("form", TRUTHS)
def test_every_form_of_references_gives_the_same_figures(form: str, tmp_path: Path) -> None:
    truth = write(tmp_path / ("r.tsv" if form == "table" else "r.json"), TRUTHS[form])
    found = score("coco-captions", write(tmp_path / "p.json", RESULTS), truth)
    assert found.metrics["rouge_l"].value == pytest.approx(np.mean(rouge.rouge_l(SAID, TRUE)))


@pytest.mark.usefixtures("no_meteor")
def test_rows_may_hold_their_references(tmp_path: Path) -> None:
    rows = [{"image_id": i, "caption": s, "references": t} for i, (s, t) in enumerate(zip(SAID, TRUE, strict=True))]
    want = np.mean(cider.cider_d(SAID, TRUE))
    assert score("coco-captions", write(tmp_path / "p.json", rows)).metrics["cider"].value == pytest.approx(want)
    sheet = "index\tprediction\tanswer\n" + "\n".join(
        f"{i}\t{s}\t{t!r}" for i, (s, t) in enumerate(zip(SAID, TRUE, strict=True))
    )
    assert score("coco-captions", write(tmp_path / "p.tsv", sheet)).metrics["cider"].value == pytest.approx(want)
    with pytest.raises(BadData, match="none of the keys references"):
        score("coco-captions", write(tmp_path / "q.json", RESULTS))


def test_meteor_is_of_summed_counts(data: Path, tmp_path: Path) -> None:
    said = write(tmp_path / "p.json", {"1": "a man", "2": "many dogs run"})
    found = score("coco-captions", said, write(tmp_path / "r.json", {"1": ["the guy"], "2": ["a lot of dogs ran"]}))
    sums = meteor.statistics(["a man", "many dogs run"], [["the guy"], ["a lot of dogs ran"]])
    assert found.metrics["meteor"].value == pytest.approx(float(meteor.meteor_of(sums.sum(0))))
    assert found.metrics["meteor"].value != pytest.approx(float(meteor.meteor_of(sums).mean()))


@pytest.mark.usefixtures("no_meteor")
def test_what_cannot_be_scored_is_told(tmp_path: Path) -> None:
    truth = write(tmp_path / "r.json", ANNOTATIONS)
    odd = [*RESULTS[:2], {"image_id": 2, "caption": None}, {"image_id": 77, "caption": "a cat"}]
    said = write(tmp_path / "p.json", odd)
    with pytest.raises(BadData, match=r"1 of 4 pictures have no reference.*as 77"):
        score("coco-captions", said, truth)
    found = score("coco-captions", said, truth, "lenient")
    assert found.unscored == {"77": "no reference", "2": "the caption is no text", "3": "no prediction"}
    assert found.metrics["cider"].n == 2
    one = score("coco-captions", write(tmp_path / "one.json", RESULTS[:1]), truth)
    assert one.metrics["cider"].value == 0
    assert any("CIDEr of one picture" in note for note in one.notes)


@pytest.mark.usefixtures("no_meteor")
@pytest.mark.parametrize(
    ("said", "message"),
    [
        ([RESULTS[0], RESULTS[0]], "picture 0 has 2 captions"),
        ([{"image_id": 0, "words": "a"}], "row 1: none of the keys"),
        ([{"caption": "a"}], "row 1: none of the keys image_id"),
        ({"0": ["a", "b"]}, "has 2 captions"),
        ([1, 2], "expected"),
        ("", "empty"),
        ("[]", "empty"),
        ("{oops", "not JSON"),
        ({"900": "a"}, "no reference"),
    ],
)
def test_files_that_cannot_be_used_say_why(said: object, message: str, tmp_path: Path) -> None:
    path = write(tmp_path / "p.json", said)
    with pytest.raises(BadData, match=message) as error:
        score("coco-captions", path, write(tmp_path / "r.json", ANNOTATIONS))
    assert str(path) in str(error.value)


def test_captions_alone_are_not_their_own_references(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"1": "a dog runs", "2": "a cat sleeps"}))
    with pytest.raises(BadData, match="hold no references: give these with --references"):
        score("coco-captions", tmp_path / "a.json")
