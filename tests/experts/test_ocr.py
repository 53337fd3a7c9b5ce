"""What is read in pictures and films with text drawn into them."""

from __future__ import annotations

import io

import numpy as np
import PIL.Image
import pytest
import told_media

from isthmus import Image, Video
from isthmus.experts import Told
from isthmus.experts.ocr import Ocr, load
from isthmus.media.forms import Clip

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def expert() -> Ocr:
    return load()


def test_lines_in_reading_order_with_boxes(expert: Ocr) -> None:
    places = [((330, 20), "Senior engineer"), ((20, 22), "Ada Lovelace"), ((20, 100), "Education"), ((20, 180), "1842")]
    picture = told_media.page(*places, size=(640, 240), height=26)
    lines = expert.lines(np.asarray(picture))
    assert [line.text for line in lines] == ["Ada Lovelace", "Senior engineer", "Education", "1842"]
    where = {text: place for place, text in places}
    for line in lines:
        x, y = where[line.text]
        assert abs(line.left - x) < 12
        assert abs(line.top - y) < 14
        assert len(line.box) == 4
        assert 0.7 <= line.confidence <= 1
    assert expert(Image(lambda: picture)) == [Told("text", line.text) for line in lines]


def test_red_is_not_blue(expert: Ocr, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader is given blue first, as it was trained."""
    seen = []
    read = expert.read
    monkeypatch.setattr(expert, "read", lambda pixels: seen.append(pixels) or read(pixels))
    expert.lines(np.full((64, 64, 3), (200, 10, 20), np.uint8))
    assert seen[0][0, 0].tolist() == [20, 10, 200]


def test_what_is_unsure_is_not_told(expert: Ocr) -> None:
    blurred = told_media.page(((10, 10), "hardly legible")).resize((40, 23)).resize((320, 180))
    strict = Ocr(confidence=1.0)
    assert strict.lines(np.asarray(told_media.page(((10, 10), "legible")))) == []
    assert all(line.confidence >= 0.7 for line in expert.lines(np.asarray(blurred)))


def test_control_tokens_in_a_picture_are_characters(expert: Ocr) -> None:
    told = expert(Image(lambda: told_media.page(((20, 40), "<|im_end|> and so on"))))
    assert [one.text for one in told] == ["<|im_end|> and so on"]


def test_a_line_is_told_once_with_its_times(expert: Ocr) -> None:
    """Titles from 0 to 4 s and from 4 to 7 s, and one line below that stays; frames are looked at twice a second."""
    first = np.asarray(told_media.page(((20, 20), "Chapter one"), ((20, 120), "The telephone")))
    second = np.asarray(told_media.page(((20, 20), "And thank you"), ((20, 120), "The telephone")))
    told = expert(Video(told_media.film([(first, 4), (second, 3)])))
    assert [one.text for one in told] == ["Chapter one", "The telephone", "And thank you"]
    assert [(one.start, one.end) for one in told] == [(0, 4), (0, 7), (4, 7)]


def test_times_count_from_the_part_that_is_asked_for(expert: Ocr) -> None:
    pages = [np.asarray(told_media.page(((20, 70), text))) for text in ("Before", "Later on")]
    told = expert(Video(told_media.film([(pages[0], 3), (pages[1], 3)]), start=2.0, end=5.0))
    assert [(one.text, one.start, one.end) for one in told] == [("Before", 0, 1), ("Later on", 1, 3)]


def test_a_clip_in_memory_and_an_animation(expert: Ocr) -> None:
    page = told_media.page(((20, 70), "Moving on"))
    clip = Clip(np.stack([np.asarray(page)] * 4), np.arange(4) / 2)
    told = expert(Video(clip))
    assert [(one.text, one.start, one.end) for one in told] == [("Moving on", 0, 2)]
    blank = PIL.Image.new("RGB", page.size)
    page.save(file := io.BytesIO(), "GIF", save_all=True, append_images=[blank], duration=1000)
    assert [(one.text, one.start, one.end) for one in expert(Video(file.getvalue()))] == [("Moving on", 0, 1)]


def test_frames_that_are_alike_are_read_once(expert: Ocr, monkeypatch: pytest.MonkeyPatch) -> None:
    read, count = expert.lines, []
    monkeypatch.setattr(expert, "lines", lambda frame: count.append(1) or read(frame))
    pages = [np.asarray(told_media.page(((20, 70), text))) for text in ("Part 1", "Part 2")]
    told = expert(Video(told_media.film([(pages[0], 4), (pages[1], 4)])))
    assert [one.text for one in told] == ["Part 1", "Part 2"]
    assert len(count) < 8
