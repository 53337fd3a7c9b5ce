"""Generated data: deterministic, truthful, balanced, and split as they say. Fast on invented concepts, slow on real."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageOps
import pytest

from isthmus import parts
from isthmus.data import emoji, scenes, sources
from isthmus.data.emoji import Concept
from isthmus.data.scenes import COLOURS, HELD_OUT_LAYOUTS, NUMBERS, Scene, article, is_there
from isthmus.errors import BadData, BadRecipe
from isthmus.registry import find, names
from isthmus.types import Image, Sample, Turn

WHERE = {"left": (0, -1), "right": (0, 1), "above": (-1, 0), "below": (1, 0)}
SPLITS = [("emoji-captions", s) for s in ("train", "vendor", "concepts")]
SPLITS += [("emoji-scenes", s) for s in ("train", "vendor", "concepts", "layouts")]


@pytest.fixture
def invented(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixty concepts that nobody drew, and a square for each."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    pool = tuple(
        Concept(f"{a}{b}o", f"{i}", emoji.THINGS[0])
        for i, (a, b) in enumerate(zip(letters * 3, letters[7:] * 4, strict=False))
    )
    assert len({concept.name for concept in pool}) == len(pool)
    monkeypatch.setattr(emoji, "all_concepts", lambda: pool)

    def square(vendor: str, code: str) -> PIL.Image.Image:
        colour = hashlib.sha256(f"{vendor}/{code}".encode()).digest()[:3]
        return PIL.Image.new("RGBA", (emoji.SIDE, emoji.SIDE), (*colour, 255))

    monkeypatch.setattr(scenes, "drawing", square)


def load(name: str, split: str, count: int = 200, seed: int = 0, **options: Any) -> list[Sample]:
    return sources.load_split(name, split, count, {"concepts": 40, "unseen": "google"} | options, seed)


def scene_of(sample: Sample) -> Scene:
    scene = sample.media[0].source
    assert isinstance(scene, Scene)
    return scene


def asks(name: str) -> str:
    return f"{is_there(name).capitalize()}?"


def check_turn(scene: Scene, turn: Turn) -> None:
    """The answer follows from where things are, worked out here once more."""
    names = [placed.concept.name for placed in scene.objects]
    if turn.kind == "name":
        assert names == [turn.answer]
    elif turn.kind == "background":
        assert turn.answer == scene.background
        assert max(abs(a - b) for a, b in zip(scene.ground, COLOURS[turn.answer], strict=True)) <= 14
    elif turn.kind == "caption":
        assert turn.answer == f"{article(names[0])} on a {scene.background} background"
    elif turn.kind == "objects":
        assert turn.answer.split(", ") == names
    elif turn.kind == "yes/no":
        assert turn.answer == ("yes" if any(turn.question == asks(name) for name in names) else "no")
    elif turn.kind == "count" and "objects" in turn.question:
        assert turn.answer == NUMBERS[len(names)]
    elif turn.kind == "count":
        assert turn.answer == NUMBERS[sum(turn.question == f"How many times {is_there(n)}?" for n in names)]
    else:
        assert turn.kind == "relation"
        word = next(word for word in WHERE if f" {word} " in turn.question)
        (anchor,) = [p for p in scene.objects if turn.question.endswith(f" the {p.concept.name}?")]
        axis, sign = (0, WHERE[word][0]) if WHERE[word][0] else (1, WHERE[word][1])
        place = lambda p: (p.y, p.x)[axis] // (scenes.SIDE / 2)  # row or column of the centre
        there = {p.concept.name for p in scene.objects if (place(p) - place(anchor)) * sign > 0}
        assert there == {turn.answer}


@pytest.mark.usefixtures("invented")
@pytest.mark.parametrize(("name", "split"), SPLITS)
def test_answers_agree_with_the_scene(name: str, split: str) -> None:
    samples = load(name, split)
    kinds: Counter[str] = Counter()
    for sample in samples:
        for turn in sample.turns:
            check_turn(scene_of(sample), turn)
            kinds[turn.kind] += 1
    assert {"background", "yes/no"} <= kinds.keys()
    assert kinds["relation" if name == "emoji-scenes" else "caption"] > 0


@pytest.mark.usefixtures("invented")
@pytest.mark.parametrize(("name", "split"), SPLITS)
def test_yes_is_as_frequent_as_no(name: str, split: str) -> None:
    answers = Counter(t.answer for s in load(name, split) for t in s.turns if t.kind == "yes/no")
    assert answers["yes"] == answers["no"] > 0


@pytest.mark.usefixtures("invented")
@pytest.mark.parametrize(("name", "split"), SPLITS)
def test_everything_follows_from_options_seed_split_and_index(name: str, split: str) -> None:
    samples = load(name, split)
    assert load(name, split) == samples
    fewer = 50 if name == "emoji-scenes" else len(emoji.concepts(40)[split == "concepts"])  # a whole round
    assert load(name, split, fewer) == samples[:fewer]
    assert [sample.turns for sample in load(name, split, seed=1)] != [sample.turns for sample in samples]
    assert len({sample.id for sample in samples}) == 200
    other = load(name, split, turn=3)
    assert [sample.id for sample in other] == [sample.id for sample in samples], "an id does not name the options"
    assert other != samples
    pixels = [scene_of(load(name, split, 3)[2])().tobytes() for _ in range(2)]
    assert pixels[0] == pixels[1]


@pytest.mark.usefixtures("invented")
def test_every_concept_comes_equally_often() -> None:
    counts = Counter(scene_of(sample).objects[0].concept for sample in load("emoji-captions", "train", 200))
    assert set(counts.values()) == {5}


def check_splits() -> None:
    for name in ("emoji-captions", "emoji-scenes"):
        samples = {split: [scene_of(s) for s in load(name, split, 400)] for n, split in SPLITS if n == name}
        used = {split: {p.concept for s in found for p in s.objects} for split, found in samples.items()}
        hands = {split: {p.vendor for s in found for p in s.objects} for split, found in samples.items()}
        asked = {t.question for s in load(name, "train", 400) for t in s.turns}
        assert hands["train"] == set(emoji.VENDORS) - {"google"}
        assert hands["vendor"] == {"google"}
        assert hands["concepts"] == hands["train"]
        assert used["vendor"] <= used["train"]
        assert not used["train"] & used["concepts"]
        held = {asks(concept.name) for concept in emoji.concepts(40)[1]}
        assert not held & asked, "held-out concepts are not even asked about"
        if "layouts" in samples:
            places = {split: {tuple(p.cell for p in s.objects) for s in found} for split, found in samples.items()}
            assert places["layouts"] == set(HELD_OUT_LAYOUTS)
            assert not places["train"] & set(HELD_OUT_LAYOUTS)
            assert used["layouts"] <= used["train"]
            assert hands["layouts"] == hands["train"]


@pytest.mark.usefixtures("invented")
def test_training_never_has_what_is_held_out() -> None:
    check_splits()


@pytest.mark.usefixtures("invented")
def test_what_is_held_out_does_not_depend_on_how_many_are_trained_on() -> None:
    for more in (None, 40, 9):
        assert set(emoji.concepts(more)[1]) <= set(emoji.concepts(None)[1])
        assert set(emoji.concepts(more)[0]) <= set(emoji.concepts(None)[0])


@pytest.mark.usefixtures("invented")
@pytest.mark.parametrize(("name", "split"), SPLITS)
def test_only_training_pictures_are_restyled_and_noisy(name: str, split: str) -> None:
    changed = load(name, split, 40, restyle=0.5, noise=20)
    restyled = [placed.restyled > 0 for sample in changed for placed in scene_of(sample).objects]
    noisy = [scene_of(sample).noise for sample in changed]
    if split == "train":
        assert 0.2 < sum(restyled) / len(restyled) < 0.8
        assert 0 < min(noisy) < max(noisy) <= 20
    else:
        assert changed == load(name, split, 40)
        assert not any(restyled)
        assert not any(noisy)


@pytest.mark.usefixtures("invented")
@pytest.mark.parametrize("degrees", [0.0, 20.0])
def test_a_restyled_drawing_keeps_its_size(degrees: float, monkeypatch: pytest.MonkeyPatch) -> None:
    disc = PIL.Image.new("RGBA", (emoji.SIDE, emoji.SIDE))
    PIL.ImageDraw.Draw(disc).ellipse((0, 0, emoji.SIDE - 1, emoji.SIDE - 1), (200, 30, 30, 255))
    monkeypatch.setattr(scenes, "drawing", lambda vendor, code: disc)
    (thing, *_), _ = emoji.concepts(40)
    widths = []
    for seed in (0, 1, 2, 3):
        placed = scenes.Placed(thing, "twitter", 0, 56, 56, 60, degrees, seed)
        drawn = Scene((placed,), "white", (255, 255, 255))()
        left, top, right, bottom = PIL.ImageOps.invert(drawn).convert("L").point(lambda v: 255 * (v > 40)).getbbox()
        widths.append((right - left, bottom - top))
    assert all(abs(side - 60) <= 4 for width in widths for side in width), widths


def test_noise_is_as_strong_as_it_says_and_always_the_same() -> None:
    plain, noisy = (Scene((), "gray", (128, 128, 128), noise, grain=7) for noise in (0, 10))
    grain = np.asarray(noisy(), float) - np.asarray(plain(), float)
    assert abs(grain.std() - 10) < 0.5
    assert noisy().tobytes() == noisy().tobytes()
    assert hashlib.sha256(noisy().tobytes()).hexdigest()[:8] == "91024a1f"


@pytest.mark.usefixtures("invented")
def test_numbers_that_yaml_takes_for_texts_are_numbers() -> None:
    assert load("emoji-scenes", "train", 5, turn="1e1") == load("emoji-scenes", "train", 5, turn=10.0)


@pytest.mark.parametrize(
    ("name", "with_article", "asked"),
    [
        ("umbrella", "an umbrella", "is there an umbrella"),
        ("unicorn", "a unicorn", "is there a unicorn"),
        ("ewe", "a ewe", "is there a ewe"),
        ("hourglass done", "an hourglass done", "is there an hourglass done"),
        ("gloves", "gloves", "are there gloves"),
        ("french fries", "french fries", "are there french fries"),
        ("nest with eggs", "a nest with eggs", "is there a nest with eggs"),
        *((name, f"a {name}", f"is there a {name}") for name in ("dress", "lotus", "cactus", "rhinoceros", "tennis")),
    ],
)
def test_things_and_plurals_in_words(name: str, with_article: str, asked: str) -> None:
    assert (article(name), is_there(name)) == (with_article, asked)


def test_questions_about_plurals(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = tuple(Concept(f"{letter}ocks", letter, letter) for letter in "bcdlrst")
    monkeypatch.setattr(emoji, "concepts", lambda count: (pool, pool))
    questions = {
        turn.question for name in ("emoji-captions", "emoji-scenes") for s in load(name, "train") for turn in s.turns
    }
    assert {"Are there socks?", "How many times are there socks?"} <= questions
    assert not [question for question in questions if "a socks" in question or "is there" in question.lower()]
    captions = [turn.answer for s in load("emoji-captions", "train") for turn in s.turns if turn.kind == "caption"]
    assert all(
        caption.split(" on a ")[0].endswith("ocks") and "a " not in caption.split(" on ")[0] for caption in captions
    )


def test_names_with_a_comma_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "en").mkdir()
    (tmp_path / "en/messages.json").write_text(json.dumps({"subgroups": [{"order": 0, "key": "family"}]}))
    entries = [{"label": name, "hexcode": f"{i}", "subgroup": 0} for i, name in enumerate(("kiss: man, man", "Family"))]
    (tmp_path / "en/data.json").write_text(json.dumps(entries))
    monkeypatch.setattr(parts, "get", lambda name: tmp_path)
    monkeypatch.setattr(emoji, "_files", lambda vendor: {"0": tmp_path, "1": tmp_path})
    assert [concept.name for concept in emoji.all_concepts.__wrapped__()] == ["family"]


@pytest.mark.parametrize("name", names(sources.SETS))
def test_a_set_names_its_parts(name: str, tmp_path: Path) -> None:
    assert sources.parts(name) == find(sources.SETS, name).PARTS
    assert set(sources.parts(name)) <= set(parts.known())
    assert sources.parts(str(tmp_path)) == (), "a folder needs none"


@pytest.mark.usefixtures("invented")
@pytest.mark.parametrize("number", [4, 0, -1, 10_000])
def test_impossible_numbers_of_concepts(number: int) -> None:
    with pytest.raises(BadRecipe, match=rf"concepts: {number} is none of 5 to"):
        load("emoji-captions", "train", concepts=number)


def test_requests_that_cannot_be_met() -> None:
    for name, split, count, options, says in (
        ("emoji-captionz", "train", 3, {}, "Did you mean 'emoji-captions'"),
        ("emoji-captions", "layouts", 3, {}, "no split 'layouts'"),
        ("emoji-captions", "train", None, {}, "say how many samples"),
        ("easy-vqa", "test", 3, {"turn": 3}, "Known options: none"),
        ("emoji-scenes", "train", 3, {"turn": "far"}, "valid number"),
        ("emoji-scenes", "train", 3, {"unseen": "me"}, "Input should be 'google'"),
        ("emoji-scenes", "train", 3, {"restyle": 7}, "less than or equal to 1, not 7"),
        ("emoji-scenes", "train", 3, {"noise": -5}, "greater than or equal to 0, not -5"),
        ("emoji-captions", "train", 3, {"turn": float("inf")}, "finite number"),
    ):
        with pytest.raises(BadRecipe, match=says):
            sources.load_split(name, split, count, options)


@pytest.mark.parametrize(
    ("sample", "says"),
    [
        (Sample("x", (Image(b""),), ()), "sample x: has no turns"),
        (Sample("x", (Image(b""),), (Turn("what?", " "),)), "sample x: 'what\\?' has no answer"),
    ],
)
def test_samples_that_cannot_be_trained_on(sample: Sample, says: str) -> None:
    with pytest.raises(BadData, match=says):
        sources.usable(sample)


@pytest.mark.slow
@pytest.mark.parametrize("name", names(sources.SETS))
def test_no_other_parts_are_asked_for(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    get, asked = parts.get, set()
    monkeypatch.setattr(parts, "get", lambda part: asked.add(part) or get(part))
    emoji.all_concepts.cache_clear()
    emoji._files.cache_clear()
    find(sources.SETS, name).load("train", 5)
    assert asked == set(sources.parts(name))


@pytest.mark.slow
def test_real_drawings() -> None:
    check_splits()
    pool = emoji.all_concepts()
    assert len({concept.code for concept in pool}) == len(pool)
    trained, held = emoji.concepts(120)
    names = [concept.name for concept in (*trained, *held)]
    assert len(set(names)) == len(names) == 120 + len(held)
    for vendor in emoji.VENDORS:
        for concept in (*trained[:3], *held[:3]):
            picture = emoji.drawing(vendor, concept.code)
            assert (picture.mode, picture.size) == ("RGBA", (emoji.SIDE, emoji.SIDE))
            assert picture.getextrema()[3] == (0, 255), "something on nothing"
    for name, split in SPLITS:
        for sample in load(name, split, 4):
            assert scene_of(sample)().size == (scenes.SIDE, scenes.SIDE)


@pytest.mark.slow
def test_easy_vqa_keeps_its_own_split() -> None:
    train, test = (sources.load_split("easy-vqa", split, 50, {}) for split in ("train", "test"))
    assert sources.load_split("easy-vqa", "train", 50, {}) == train
    assert not {str(s.media[0].source) for s in train} & {str(s.media[0].source) for s in test}
    assert all(turn.kind in ("yes/no", "shape", "colour") for sample in train + test for turn in sample.turns)
