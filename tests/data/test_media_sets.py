"""Data sets of sounds, clips, points and series: fast on invented parts, slow on the real ones."""

from __future__ import annotations

import gzip
import json
import random
import re
import zipfile
from collections import Counter
from dataclasses import is_dataclass
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import soundfile

from isthmus import media, parts
from isthmus.data import moving, sources
from isthmus.data.sets import (
    asterisk_speech,
    easy_vqa,
    emoji_events,
    furniture,
    instruments,
    moving_emoji,
    phone_motion,
    told_clips,
)
from isthmus.errors import BadRecipe
from isthmus.media.forms import Clip, Cloud, Signal, Sound
from isthmus.types import NOUNS, Image, Sample, Turn

SETS = {
    "asterisk-speech": asterisk_speech,
    "instruments": instruments,
    "moving-emoji": moving_emoji,
    "furniture": furniture,
    "phone-motion": phone_motion,
}
SPLITS = [(name, split) for name, module in SETS.items() for split in module.SPLITS]
FORMS = {"audio": Sound, "video": Clip, "points": Cloud, "series": Signal}
OBJ = "v 0 0 0\nv {0} 0 0\nv 0 1 0\nv 0 0 1\nf 1 2 3\nf 1 2 4\nf 1 3 4\nf 2 3 4\n"
ENTRY = "name#{0}={1}\ntags#{0}=\ncategory#{0}={2}\nmodel#{0}=/maker/m{0}.obj\nicon#{0}=/maker/m{0}.png\n"


@pytest.fixture
def invented(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for each part that the sets are made of, with a little of each kind in it."""
    monkeypatch.setattr(parts, "get", lambda name: tmp_path / name)
    noise = np.random.default_rng(0).uniform(-0.1, 0.1, 4000)
    sounds = tmp_path / "asterisk-speech/usr/share/sounds/en"
    (sounds / "digits").mkdir(parents=True)
    lines = ["; words", "", "beep: [a tone]", "nowhere: nothing"]
    for index in range(40):
        key = f"digits/{index}" if index % 2 else f"clip{index}"
        lines.append(f"{key}: Press {index % 10}, for {'abcdefgh'[index // 5]}{'xyz'[index % 3]} ...")
        soundfile.write(sounds / f"{key}.wav", noise, 8000)
    soundfile.write(sounds / "beep.wav", noise, 8000)
    (tmp_path / "asterisk-words").mkdir()
    (tmp_path / "asterisk-words/core-sounds-en.txt.gz").write_bytes(gzip.compress("\n".join(lines).encode()))

    (tmp_path / "sonic-pi-samples/samples").mkdir(parents=True)
    for stem in ("bd", "tabla", "loop", "misc"):
        for index in range(9):
            soundfile.write(tmp_path / f"sonic-pi-samples/samples/{stem}_{index}.flac", noise, 44100)

    for folder in ("fluent-emoji-anim/assets", "emojibase/en", "sweethome3d-furniture", "har"):
        (tmp_path / folder).mkdir(parents=True)
    entries = [{"label": f"Thing {i}", "hexcode": f"1F{i:03}-FE0F", "subgroup": 0} for i in range(24)]
    entries += [{"label": "kiss: man, man", "hexcode": "1F024", "subgroup": 0}]
    entries += [{"label": "flag", "hexcode": "1F025", "subgroup": 1}, {"label": "part", "hexcode": "1F026"}]
    for i in range(27):
        frames = [PIL.Image.new("RGBA", (32, 32), (9 * i, 40 * f, 0, 255)) for f in range(1 if i == 5 else 4)]
        file = tmp_path / f"fluent-emoji-anim/assets/1f{i:03}.webp"
        frames[0].save(file, save_all=True, append_images=frames[1:], lossless=True, duration=50)
    (tmp_path / "fluent-emoji-anim-2/assets").mkdir(parents=True)
    file.rename(tmp_path / "fluent-emoji-anim-2/assets/1f030.webp")
    entries += [{"label": "more", "hexcode": "1F030", "subgroup": 0}]
    (tmp_path / "emojibase/en/data.json").write_text(json.dumps(entries))
    groups = [{"order": 0, "key": "tool"}, {"order": 1, "key": "flag"}]
    (tmp_path / "emojibase/en/messages.json").write_text(json.dumps({"subgroups": groups}))

    rooms = ("Kitchen", "Office", "Miscellaneous", "Kitchen")
    with zipfile.ZipFile(tmp_path / "sweethome3d-furniture/Maker.sh3f", "w") as archive:
        names = [f"Thing{chr(97 + i // 3)}" for i in range(78)] + ["Plate, glass", "Bill 10\\u20ac"]
        listed = [ENTRY.format(i, name, rooms[i // 3 % 4]) for i, name in enumerate(names)]
        archive.writestr(furniture.CATALOGUE, "id=x\n# words\n\n" + "\n".join(listed))
        for i in range(80):
            archive.writestr(f"maker/m{i}.obj", OBJ.format(i + 1))

    for person in range(1, 11):
        labels = np.repeat(np.array([-1, 1, 2, 4, 9, 5], np.int8), 60)
        np.save(tmp_path / f"har/{person:02}-0.npy", np.full((6, 360), person / 10, np.float32))
        np.save(tmp_path / f"har/{person:02}-0-labels.npy", labels)
    return tmp_path


def drawn(name: str, split: str, seed: int = 0, **options: object) -> list[Sample]:
    return sources.load_split(name, split, 60, {"steps": 25} | options if name == "phone-motion" else options, seed)


@pytest.mark.parametrize(("name", "split"), SPLITS)
def test_each_sample_is_one_medium_with_true_answers_and_balanced_yes_and_no(
    name: str, split: str, invented: Path
) -> None:
    samples = drawn(name, split)
    assert len({sample.id for sample in samples}) == len(samples) > 3
    answers = Counter(turn.answer for sample in samples for turn in sample.turns if turn.kind == "yes/no")
    assert answers["yes"] == answers["no"] == len(samples)
    for sample in samples:
        first, *_, yes, no = sample.turns
        thing = first.answer if name != "moving-emoji" else sample.turns[1].answer
        if name == "asterisk-speech":
            said = [re.findall('"(.*)"', turn.question)[0] in thing.split() for turn in (yes, no)]
            assert said == [True, False]
        else:
            assert [turn.question.endswith(f" {thing}?") for turn in (yes, no)] == [True, False]
    for sample in samples[:3]:
        (medium,) = sample.media
        found = media.load(medium)
        assert isinstance(found, FORMS[medium.kind])
        assert media.forms.key(found) == media.forms.key(media.load(medium))
        if not isinstance(medium.source, Path):
            assert is_dataclass(medium.source)
            assert str(invented) not in repr(medium), "the same on every machine"


@pytest.mark.usefixtures("invented")
@pytest.mark.parametrize(("name", "split"), SPLITS)
def test_everything_follows_from_options_seed_split_and_index(name: str, split: str) -> None:
    samples = drawn(name, split)
    assert drawn(name, split) == samples
    other = drawn(name, split, seed=1)
    assert [sample.turns for sample in other] != [sample.turns for sample in samples]
    assert not {sample.id for sample in samples} & {sample.id for sample in other}
    assert [repr(sample) for sample in drawn(name, split)] == [repr(sample) for sample in samples]
    assert len(sources.load_split(name, split, 3, {"steps": 25} if name == "phone-motion" else {})) == 3


def firsts(name: str, split: str, count: int | None = 400) -> set[str]:
    return {sample.turns[0].answer for sample in sources.load_split(name, split, count, {})}


def check_hold_outs() -> None:
    for name, split in (("asterisk-speech", "clips"), ("moving-emoji", "concepts"), ("furniture", "concepts")):
        assert not firsts(name, "train", 3000) & firsts(name, split), f"{name}: what is held out is not an answer"
    assert firsts("instruments", "sounds") == firsts("instruments", "train")
    assert firsts("furniture", "models") <= firsts("furniture", "train", None)
    for name, split in (("instruments", "sounds"), ("furniture", "models"), ("asterisk-speech", "clips")):
        train, held = (
            {repr(s.media[0].source) for s in sources.load_split(name, p, None, {})} for p in ("train", split)
        )
        assert not train & held
    layouts = {
        split: {
            (s.media[0].source.way, s.media[0].source.place) for s in sources.load_split("moving-emoji", split, 400, {})
        }
        for split in moving_emoji.SPLITS
    }
    assert layouts["train"] == layouts["concepts"] == set(moving.LAYOUTS) - set(moving.HELD_OUT_LAYOUTS)
    assert layouts["layouts"] == set(moving.HELD_OUT_LAYOUTS)
    assert {way for way, _ in layouts["train"]} == {way for way, _ in layouts["layouts"]} == set(moving.WAYS)
    trained = {place for _, place in layouts["train"]}
    assert layouts["train"] == {(way, place) for way in moving.WAYS for place in trained}, "a place tells no way"
    assert {column for column, _ in trained} == {row for _, row in trained} == set(range(moving.GRID))


@pytest.mark.usefixtures("invented")
def test_what_is_held_out_is_never_trained_on() -> None:
    check_hold_outs()
    people = {p: {s.media[0].source.recording[:2] for s in drawn("phone-motion", p)} for p in ("train", "people")}
    assert people == {"train": {f"{i:02}" for i in range(1, 11)} - {"05", "10"}, "people": {"05", "10"}}


@pytest.mark.usefixtures("invented")
def test_views_of_furniture_are_turned_and_stretched_copies_of_what_is_trained_on() -> None:
    plain, some = drawn("furniture", "train"), drawn("furniture", "train", views=2)
    assert [repr(sample) for sample in some[::3]] == [repr(sample) for sample in plain]
    assert len({sample.id for sample in some}) == len({repr(sample.media) for sample in some}) == 3 * len(plain)
    assert [repr(sample) for sample in drawn("furniture", "train", views=2)] == [repr(sample) for sample in some]
    assert repr(drawn("furniture", "models", views=2)) == repr(drawn("furniture", "models"))
    own, *views = (media.load(sample.media[0]) for sample in some[:3])
    assert some[0].turns == some[2].turns
    assert not np.array_equal(views[0].xyz, views[1].xyz)
    low, high = (1 - furniture.STRETCH) ** 2, (1 + furniture.STRETCH) ** 2
    for view in views:
        assert view.xyz.shape == own.xyz.shape
        assert low < np.ptp(view.xyz[:, 1]) / np.ptp(own.xyz[:, 1]) < high  # upright
        np.testing.assert_allclose(np.linalg.norm(view.normals, axis=1), 1, atol=1e-5)
    ball = np.random.default_rng(0).normal(size=(200, 3))
    ball = (ball / np.linalg.norm(ball, axis=1, keepdims=True)).astype(np.float32)
    view = furniture.View(lambda: Cloud(ball, normals=ball), 3)()  # of an ellipsoid, no plane through it cuts the rest
    assert ((view.xyz @ view.normals.T).argmax(0) == np.arange(200)).all()


@pytest.mark.usefixtures("invented")
def test_what_is_no_speech_is_left_out() -> None:
    assert len(asterisk_speech.spoken()) == 40
    assert "press three for ax" in asterisk_speech.spoken().values()
    with pytest.raises(BadRecipe, match="longest: 1 leaves 0 clips"):
        drawn("asterisk-speech", "train", longest=1)


@pytest.mark.usefixtures("invented")
def test_only_named_animations_are_drawn() -> None:
    trained, held = moving.animations()
    assert {one.name for one in (*trained, *held)} == {f"thing {i}" for i in range(24) if i != 5}
    assert len(held) == 3
    more = [one.name for some in moving.animations(packages=2) for one in some]
    assert set(more) == {one.name for one in (*trained, *held)} | {"more"}
    assert "more" in {sample.turns[0].answer for sample in drawn("moving-emoji", "train", packages=2)}


@pytest.mark.parametrize("way", moving.WAYS)
def test_a_drawing_goes_where_it_is_said_to_go(way: str, tmp_path: Path) -> None:
    PIL.Image.new("RGBA", (8, 8), "red").save(tmp_path / "still.webp")
    what = moving.Animation("square", "1", tmp_path / "still.webp")
    rng = random.Random(0)
    for _ in range(20):
        clip = moving.compose(rng, what, [one for one in moving.LAYOUTS if one[0] == way])
        frames = clip().frames.astype(int)
        there = (np.abs(frames - np.array(clip.ground)).max(3) > 8) if clip.background != "red" else None
        if there is None:
            continue
        assert there[0].sum() == there[-1].sum() == clip.side**2, "wholly within the frame"
        y, x = (
            np.array([place.mean() for place in axis]) for axis in zip(*(np.nonzero(one) for one in there), strict=True)
        )
        along, across = (x, y) if way in ("left", "right") else (y, x)
        steps = np.diff(along)
        assert (steps > 0).all() if way in ("right", "down") else (steps < 0).all()
        least, most = (moving.SIDE * share for share in moving.TRAVEL)
        assert least - 2 < abs(along[-1] - along[0]) < most + 2
        assert len(set(across)) == 1


def test_the_way_cannot_be_read_from_one_frame() -> None:
    rng = random.Random(0)
    what = moving.Animation("square", "1", Path("none"))

    def clips(layouts: list[tuple[str, tuple[int, int]]], count: int) -> tuple[np.ndarray, np.ndarray]:
        made = [moving.compose(rng, what, layouts) for _ in range(count)]
        return np.array([list(moving.WAYS).index(clip.way) for clip in made]), np.array(
            [(c.start, c.stop) for c in made]
        )

    def by_neighbours(known: np.ndarray, asked: np.ndarray) -> float:
        """How often the way is that of most of 50 trained clips whose frame is the most alike."""
        nearest = np.argsort(((asked[:, None] - known) ** 2).sum(2), 1)[:, :50]
        return float(np.mean([np.bincount(trained[own]).argmax() for own in nearest] == held))

    trained, ends = clips([one for one in moving.LAYOUTS if one not in moving.HELD_OUT_LAYOUTS], 3000)
    held, held_ends = clips(list(moving.HELD_OUT_LAYOUTS), 500)
    assert np.bincount(trained) == pytest.approx(750, abs=75)
    assert by_neighbours(ends.mean(1), held_ends.mean(1)) == pytest.approx(0.25, abs=0.07), "the middle says nothing"
    for end in (0, 1):
        assert 0.4 < by_neighbours(ends[:, end], held_ends[:, end]) < 0.75, "an end says something, and nothing false"


@pytest.mark.usefixtures("invented")
def test_a_category_that_says_nothing_is_not_asked_about() -> None:
    turns = [turn for sample in drawn("furniture", "train") for turn in sample.turns if turn.kind == "category"]
    assert {turn.answer for turn in turns} == {"kitchen", "office"}
    assert not [model.name for model in furniture.models() if "," in model.name or "\\" in model.name]
    assert {len(media.load(sample.media[0]).xyz) for sample in drawn("furniture", "train", points=20)[:3]} == {20}


@pytest.mark.usefixtures("invented")
def test_a_window_holds_one_activity_and_its_own_recording() -> None:
    samples = sources.load_split("phone-motion", "people", None, {"steps": 25})
    assert Counter(sample.turns[0].answer for sample in samples) == dict.fromkeys(
        ("walking", "walking upstairs", "sitting", "standing"), 4
    )
    for sample in samples:
        signal = media.load(sample.media[0])
        assert signal.values.shape == (6, 25)
        assert signal.times[0] == 0
        assert signal.rate == pytest.approx(50)
        assert signal.values[0, 0] == pytest.approx(int(sample.media[0].source.recording[:2]) / 10)
        if sample.turns[0].answer == "walking upstairs":
            assert sample.turns[-1].question != "Is the person walking?"
    with pytest.raises(BadRecipe, match="nothing is done for as long as that"):
        drawn("phone-motion", "train", steps=61)


@pytest.mark.slow
def test_real_parts() -> None:
    check_hold_outs()
    counts = {
        (name, split): len(sources.load_split(name, split, None, {}))
        for name, split in SPLITS
        if name != "moving-emoji"
    }
    print(counts)
    for name, split in SPLITS:
        for sample in sources.load_split(name, split, 4, {}):
            (medium,) = sample.media
            assert isinstance(media.load(medium), FORMS[medium.kind])
    assert sum(n for (name, _), n in counts.items() if name == "furniture") == len(furniture.models())
    trained, held = moving.animations()
    assert (len(trained), len(held)) == (146, 21)
    assert sum(map(len, moving.animations(len(moving.PACKAGES)))) == 702


@pytest.mark.slow
def test_people_stand_upright_and_lie_down() -> None:
    samples = sources.load_split("phone-motion", "people", 200, {})
    lean = {
        doing: np.mean([media.load(s.media[0]).values[0].mean() for s in samples if s.turns[0].answer == doing])
        for doing in ("standing", "lying", "walking")
    }
    assert lean["standing"] > 0.9  # g along the phone's length
    assert lean["walking"] > 0.9
    assert abs(lean["lying"]) < 0.3


@pytest.mark.usefixtures("invented")
@pytest.mark.parametrize("split", emoji_events.SPLITS)
def test_events_come_in_the_order_that_is_told(split: str) -> None:
    samples = sources.load_split("emoji-events", split, 40, {})
    assert samples == sources.load_split("emoji-events", split, 40, {})
    for sample in samples:
        (clip,) = sample.media
        first, last, yes, no = sample.turns
        assert (first.answer, last.answer) == (clip.source.first.what.name, clip.source.last.what.name)
        assert yes.question == f"Does the {first.answer} come before the {last.answer}?"
        assert no.question == f"Does the {last.answer} come before the {first.answer}?"
        assert (yes.answer, no.answer) == ("yes", "no")
        shown, before, after = (it().frames for it in (clip.source, clip.source.first, clip.source.last))
        cut = clip.source.cut
        assert np.array_equal(shown, np.concatenate([before[:cut], after[cut:]]))
        assert clip.source.first.ground == clip.source.last.ground


@pytest.mark.usefixtures("invented")
def test_pairs_of_events_are_held_out_in_both_orders() -> None:
    pairs = {
        split: {
            frozenset(turn.answer for turn in one.turns[:2])
            for one in sources.load_split("emoji-events", split, 600, {})
        }
        for split in emoji_events.SPLITS
    }
    assert len(pairs["pairs"]) > 3
    assert not pairs["pairs"] & pairs["train"]
    assert not {name for pair in pairs["concepts"] for name in pair} & {
        name for pair in pairs["train"] for name in pair
    }


@pytest.mark.usefixtures("invented")
def test_told_clips_say_what_experts_would() -> None:
    samples = sources.load_split("told-clips", "train", 200, {})
    told = Counter[str]()
    for sample in samples:
        said, written, name, *_ = sample.turns
        lines = said.question.splitlines()
        assert [turn.question.splitlines()[:-1] for turn in sample.turns] == [lines[:-1]] * 5, "the same before each"
        heard = [line.partition(" s speech: ")[2] for line in lines if " s speech: " in line]
        read = [line.partition(" s text: ")[2] for line in lines if " s text: " in line]
        assert said.answer == (heard[0].lower().removesuffix(".") if heard else told_clips.NOTHING)
        assert written.answer == (read[0] if read else told_clips.NOTHING)
        told.update(line.split()[2] for line in lines[:-1])
        told["right"] += any(f" {name.answer} on a " in line for line in lines)
    assert 120 < told["speech:"] < 190
    assert 110 < told["text:"] < 170
    assert 30 < told["right"] < told["caption:"] - 20 < 110
    titled = next(sample.media[0].source for sample in samples if sample.media[0].source.written)
    shown, plain = titled(), titled.clip()
    assert (shown.frames[:, : -told_clips.BAND] == plain.frames[:, : -told_clips.BAND]).all()
    assert (shown.frames[:, -told_clips.BAND :] > 200).any(), "words are drawn"


def test_clips_of_speech_one_after_another(invented: Path) -> None:
    samples = sources.load_split("asterisk-speech", "train", 5, {"joined": 20, "longest": 9})
    lines = asterisk_speech.spoken()
    assert len(samples) == 25
    for sample in samples[5:]:
        clips = sample.media[0].source.clips
        assert len(clips) in (2, 3)
        assert sample.turns[0].answer == " ".join(lines[clip] for clip in clips)
        assert len(sample.turns[0].answer.split()) <= 9
        assert media.load(sample.media[0]).seconds == pytest.approx(len(clips) * (0.5 + 0.15))


def test_several_media_in_one_prompt(invented: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = [Sample(f"p{i}", (Image(bytes([i])),), (Turn("What colour?", "red", "colour"),)) for i in range(9)]
    monkeypatch.setattr(easy_vqa, "load", lambda split, count, seed: pictures)
    felt, load = phone_motion.load, moving_emoji.load
    monkeypatch.setattr(phone_motion, "load", lambda split, count, seed: felt(split, count, seed, steps=25))
    monkeypatch.setattr(moving_emoji, "load", lambda split, count, seed: load(split, 8, seed))
    seen = Counter[str]()
    for sample in sources.load_split("together", "train", 200, {}):
        kinds = [medium.kind for medium in sample.media]
        assert len(set(kinds)) == len(kinds) in (2, 3)
        assert [turn.kind.partition(":")[0] for turn in sample.turns] == [NOUNS[kind] for kind in kinds]
        assert all(turn.shows == sample.chained for turn in sample.turns)
        starts = [turn.question.startswith("About the ") for turn in sample.turns]
        assert starts == [not sample.chained] * len(kinds)
        seen.update({"in turns": sample.chained, kinds[0]: 1})
    assert 70 < seen["in turns"] < 130
    assert set(seen) == {"in turns", *FORMS, "image"}, "any kind comes first"
    test = sources.load_split("together", "test", 50, {})
    assert not any(sample.chained or turn.kind.endswith("yes/no") for sample in test for turn in sample.turns)
