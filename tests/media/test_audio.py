"""Sound of every format: right, partial, declared wrongly, too long."""

from __future__ import annotations

import pickle
import struct
import time
from pathlib import Path

import media_files
import numpy as np
import pytest
from media_files import RATE, SINE, film, silence, sound

from isthmus.errors import BadMedia
from isthmus.media import caps, load
from isthmus.media.forms import Sound
from isthmus.types import Audio

EXACT = [("WAV", "PCM_16"), ("WAV", "FLOAT"), ("WAV", "PCM_24"), ("WAVEX", None), ("FLAC", None), ("AIFF", None)]
LOSSY = [("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", None)]
CONTAINERS = [("mp4", "aac"), ("mp4", "flac"), ("webm", "libopus"), ("matroska", "pcm_s16le"), ("avi", "libmp3lame")]


@pytest.mark.parametrize(("form", "subtype"), EXACT)
def test_formats_that_keep_every_sample(form: str, subtype: str | None, tmp_path: Path) -> None:
    data = sound(form, subtype)
    (path := tmp_path / "odd name.xyz").write_bytes(data)
    for source in (data, path, str(path)):
        heard = load(Audio(source))
        assert heard.rate == RATE
        assert heard.samples.dtype == np.float32
        np.testing.assert_allclose(heard.samples, SINE, atol=1e-4)


@pytest.mark.parametrize(("form", "subtype"), LOSSY)
def test_formats_that_do_not(form: str, subtype: str | None) -> None:
    heard = load(Audio(sound(form, subtype)))
    assert (heard.rate, len(heard.samples)) == (RATE, RATE)
    assert loudest(heard) == 440


@pytest.mark.parametrize(("form", "codec"), CONTAINERS)
def test_containers(form: str, codec: str) -> None:
    heard = load(Audio(film(form, None, codec, count=20)))
    assert heard.seconds == pytest.approx(2, abs=0.12)
    assert loudest(heard) == pytest.approx(440, abs=1)


def test_a_films_sound() -> None:
    heard = load(Audio(film("mp4")))
    assert heard.seconds == pytest.approx(4, abs=0.1)
    assert loudest(heard) == pytest.approx(440, abs=1)


def test_channels_are_averaged() -> None:
    np.testing.assert_allclose(load(Audio(sound(channels=2))).samples, SINE / 2, atol=1e-4)


@pytest.mark.parametrize("data", [sound(), sound("FLAC"), sound("OGG", "VORBIS")], ids=["wav", "flac", "ogg"])
def test_a_part_is_the_same_as_cutting_it_out(data: bytes) -> None:
    whole, part = load(Audio(data)), load(Audio(data, start=0.25, end=0.5))
    np.testing.assert_allclose(part.samples, whole.samples[4000:8000], atol=1e-6)
    np.testing.assert_allclose(load(Audio(data, start=0.75)).samples, whole.samples[12000:], atol=1e-6)
    assert load(Audio(whole, end=0.5)).seconds == 0.5


@pytest.mark.parametrize("form", ["mp4", "webm", "avi", "mkv"])
def test_a_part_of_a_container_stands_where_it_is(form: str) -> None:
    data = film(*media_files.FILMS[form])
    whole, part = load(Audio(data)), load(Audio(data, start=2.0, end=3.0))
    assert len(part.samples) == whole.rate
    late = [
        np.corrcoef(part.samples, whole.samples[2 * whole.rate + lag :][: whole.rate])[0, 1] for lag in range(-96, 97)
    ]
    assert max(late) > 0.99, "within 2 ms: Matroska counts in whole ones"


def test_resampling_keeps_the_tone_and_what_lies_too_high_is_gone() -> None:
    heard = load(Audio(sound())).resampled(48_000)
    assert (heard.rate, len(heard.samples)) == (48_000, 48_000)
    truth = 0.5 * np.sin(2 * np.pi * 440 * np.arange(48_000) / 48_000)
    assert np.abs(heard.samples - truth)[2000:-2000].max() < 1e-3
    high = Sound(np.sin(2 * np.pi * 7000 * np.arange(RATE) / RATE).astype(np.float32), RATE).resampled(8000)
    assert np.abs(high.samples[1000:-1000]).max() < 1e-3
    assert heard.resampled(48_000) is heard
    assert len(Sound(np.zeros(1, np.float32), 48_000).resampled(8000).samples) == 1
    with pytest.raises(BadMedia, match="5 samples a second"):
        heard.resampled(5)


def test_sounds_that_are_made() -> None:
    made = Sound(SINE, RATE)
    assert load(Audio(made)).seconds == 1
    assert load(Audio(lambda: made, start=0.5)).seconds == 0.5
    assert Sound(np.array([3.0, -9.0]), RATE).samples.tolist() == [1, -1]
    assert pickle.loads(pickle.dumps(Audio("a.wav", start=1))) == Audio("a.wav", start=1)
    for samples, rate, says in (
        (np.zeros(0), RATE, "0 samples"),
        (np.zeros((2, 2)), RATE, r"are \[T\], not \[2, 2\]"),
        (np.array([0, np.nan]), RATE, "sample 1 of the sound is NaN"),
        (np.array(["a"]), RATE, "numbers"),
        (np.zeros(4), 0, "0 samples a second"),
        (np.zeros(4), 10**9, "1,000,000,000 samples a second"),
    ):
        with pytest.raises(BadMedia, match=says):
            Sound(samples, rate)
    with pytest.raises(BadMedia, match="601 seconds of sound; at most 600"):
        load(Audio(Sound(np.zeros(601_000, np.float32), 1000)))


def patched(at: int, form: str, value: int, data: bytes | None = None) -> bytes:
    mutable = bytearray(data or sound())
    struct.pack_into(form, mutable, at, value)
    return bytes(mutable)


def test_headers_that_lie() -> None:
    few = sound()[: 44 + 100]  # 50 samples
    for data, says in (
        (patched(40, "<I", 2**32 - 16, few), "declares 4,294,967,280 bytes of sound and the file holds 100"),
        (patched(24, "<I", 0), "0 samples a second"),
        (patched(24, "<I", 2**31), "2,147,483,648 samples a second"),
        (patched(22, "<H", 0), "0 channels"),
        (patched(22, "<H", 6000), "damaged|6000 channels"),
        (patched(40, "<I", 0), "0 samples of sound"),
        (sound()[:36], "no samples in it"),
        (sound()[:12], "no samples in it"),
        (sound("AIFF")[:9000], "declares 32,008 bytes of sound"),
        (sound("FLAC")[:2500], "damaged|declares"),
        (sound("OGG", "VORBIS")[:2200], "damaged|declares"),
        (sound("OGG", "OPUS")[:2000], "cut off: its header declares"),
        (sound("MP3", seconds=4)[:3000], "damaged|declares"),
        (film("mp4", None, "aac")[:9000], "cut off: its header declares"),
        (film("webm", None, "libopus", 400)[:9000], "cut off: its header declares"),
    ):
        with pytest.raises(BadMedia, match=says) as error:
            load(Audio(data))
        assert str(error.value).startswith(f"<{len(data):,} bytes>: ")


def test_a_sound_that_is_not_finite() -> None:
    data = sound("WAV", "FLOAT")
    place = data.index(b"data") + 8
    with pytest.raises(BadMedia, match="sample 3 of the sound is NaN"):
        load(Audio(patched(place + 12, "<I", 0x7FC00000, data)))


@pytest.mark.parametrize(("form", "codec"), [("OGG", "OPUS"), ("mp4", "aac"), ("matroska", "flac")])
def test_bombs_are_refused(form: str, codec: str) -> None:
    data = silence(form, codec, 610)
    assert len(data) < 200_000
    began = time.perf_counter()
    with pytest.raises(BadMedia, match=r"61\d seconds of sound; at most 600 are decoded. Ask for a part"):
        load(Audio(data))
    assert time.perf_counter() - began < 10
    assert load(Audio(data, start=605)).seconds == pytest.approx(5, abs=0.2)


def test_a_bomb_that_declares_little_is_refused_while_it_is_decoded() -> None:
    data = bytearray(silence("matroska", "flac", 610))
    place = data.index(b"\x44\x89\x88") + 3  # Matroska's Duration, in milliseconds
    assert struct.unpack_from(">d", data, place)[0] == pytest.approx(610_000, abs=100)
    struct.pack_into(">d", data, place, 1000.0)
    with pytest.raises(BadMedia, match=r"60\d seconds of sound; at most 600"):
        load(Audio(bytes(data)))


def test_parts_that_are_not_there() -> None:
    for options, says in (
        ({"start": 2.0}, "part begins at 2 seconds and the sound ends at 1"),
        ({"start": 1.0, "end": 1.0}, "start is 0 or more and lies before end"),
        ({"start": -1.0}, "start is 0 or more"),
        ({"start": float("nan")}, "start is 0 or more"),
        ({"end": 0.0}, "lies before end"),
    ):
        with pytest.raises(BadMedia, match=says):
            load(Audio(sound(), **options))
    with pytest.raises(BadMedia, match="part begins at 9 seconds and the sound ends at"):
        load(Audio(film("mp4"), start=9))


@pytest.mark.parametrize(
    "data", [b"", b"hello", b"RIFF", b"RIFF\0\0\0\0WAVE", b"#EXTM3U\nfile:///etc/passwd", b"\xff\xfb"]
)
def test_what_is_no_sound(data: bytes, tmp_path: Path) -> None:
    (path := tmp_path / "notes.wav").write_bytes(data)
    with pytest.raises(BadMedia, match=r"notes\.wav: (not a sound|damaged)") as error:
        load(Audio(path))
    assert "0x" not in str(error.value)


def test_a_film_without_sound() -> None:
    with pytest.raises(BadMedia, match="it holds no sound"):
        load(Audio(film("mp4", "libx264", None)))


def test_missing_and_large(tmp_path: Path) -> None:
    for source, says in (
        (tmp_path / "none.wav", "no such file"),
        (b"\0" * (caps.MAX_BYTES + 1), "over the cap"),
        (3, "a sound is a path, bytes, a Sound or a function that makes one, not int"),
    ):
        with pytest.raises(BadMedia, match=says):
            load(Audio(source))


def loudest(heard: Sound) -> float:
    """The frequency, in Hz, that is strongest."""
    spectrum = np.abs(np.fft.rfft(heard.samples))
    return float(np.argmax(spectrum) * heard.rate / len(heard.samples))
