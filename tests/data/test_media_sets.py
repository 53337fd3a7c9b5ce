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
from isthmus.data.sets import asterisk_speech, furniture, instruments, moving_emoji, phone_motion
from isthmus.errors import BadRecipe
from isthmus.media.forms import Clip, Cloud, Signal, Sound
from isthmus.types import Sample

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
            (s.media[0].source.way, s.media[0].source.lane) for s in sources.load_split("moving-emoji", split, 400, {})
        }
        for split in moving_emoji.SPLITS
    }
    assert layouts["train"] == layouts["concepts"] == set(moving.LAYOUTS) - set(moving.HELD_OUT_LAYOUTS)
    assert layouts["layouts"] == set(moving.HELD_OUT_LAYOUTS)
    assert {way for way, _ in layouts["train"]} == {way for way, _ in layouts["layouts"]} == set(moving.WAYS)
    assert {lane for _, lane in layouts["train"]} == set(range(moving.LANES))


@pytest.mark.usefixtures("invented")
def test_what_is_held_out_is_never_trained_on() -> None:
    check_hold_outs()
    people = {p: {s.media[0].source.recording[:2] for s in drawn("phone-motion", p)} for p in ("train", "people")}
    assert people == {"train": {f"{i:02}" for i in range(1, 11)} - {"05", "10"}, "people": {"05", "10"}}


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
        assert abs(along[-1] - along[0]) > moving.SIDE / 3 - 2
        assert len(set(across)) == 1
        assert across[0] * moving.LANES // moving.SIDE == clip.lane


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
