"""Video: which frames are taken, their times and sound; animated pictures; what is refused before it is decoded."""

from __future__ import annotations

import contextlib
import io
import os
import struct
import time
from pathlib import Path
from typing import Any

import av
import media_files
import numpy as np
import PIL.Image
import pytest
import told_media
from media_files import FILMS, SIDES, animation, film

from isthmus.errors import BadMedia
from isthmus.media import load
from isthmus.media.forms import Clip, Sound
from isthmus.media.video import choose, ends
from isthmus.types import Audio, Image, Video

FORMS = pytest.mark.parametrize("form", FILMS)


def greys(clip: Clip) -> list[int]:
    """The grey in the middle of each frame."""
    return [int(frame[SIDES[0] // 2, SIDES[1] // 2, 0]) for frame in clip.frames]


def numbers(clip: Clip, each: int = 6) -> list[int]:
    """Which frames they are, told by their grey (see `media_files`)."""
    return [round(grey / each) for grey in greys(clip)]


@FORMS
def test_uniform_frames_are_the_middles_of_equal_shares(form: str, tmp_path: Path) -> None:
    (path := tmp_path / "odd name.xyz").write_bytes(film(*FILMS[form]))
    for source in (path, str(path), path.read_bytes()):
        clip = load(Video(source))
        assert clip.frames.shape == (8, *SIDES, 3)
        np.testing.assert_allclose(clip.times, np.arange(8) * 0.5 + 0.2, atol=0.11)
        assert np.abs(np.array(numbers(clip)) - clip.times * 10).max() < 2.1
        assert clip.sound is not None
        assert clip.sound.seconds == pytest.approx(4, abs=0.15)


@pytest.mark.parametrize(
    ("codec", "form"),
    [("libx264", "mp4"), ("libx265", "mp4"), ("libvpx", "webm"), ("libvpx-vp9", "webm"), ("libsvtav1", "mp4"),
     ("mpeg4", "avi"), ("mjpeg", "avi")],
)  # fmt: skip
def test_codecs(codec: str, form: str) -> None:
    clip = load(Video(film(form, codec, None, sides=(64, 96)), frames=40))
    assert len(clip.frames) >= 39
    assert clip.sound is None
    near = [
        abs(int(frame[32, 48, 0]) - round(stamp * 10) * 6) for frame, stamp in zip(clip.frames, clip.times, strict=True)
    ]
    assert sorted(near)[-3] <= 8


@pytest.mark.skipif(not hasattr(os, "sched_getscheduler"), reason="this system has no such policies")
def test_writing_a_film_leaves_the_process_as_it_is_scheduled() -> None:
    film("mp4", "libsvtav1", None, sides=(64, 96), count=12)
    assert os.sched_getscheduler(0) == os.SCHED_OTHER


@FORMS
def test_frames_by_rate(form: str) -> None:
    clip = load(Video(film(*FILMS[form]), sampling="fps", fps=2.5, sound=False))
    assert clip.times[:10] == pytest.approx(np.arange(10) * 0.4, abs=0.11)
    assert len(clip.times) in (10, 11)  # AVI counts one frame more
    assert clip.sound is None


@pytest.mark.parametrize("form", ["mp4", "webm", "mkv"])
def test_keyframes(form: str) -> None:
    assert numbers(load(Video(film(*FILMS[form]), sampling="keyframes"))) == [0, 10, 20, 30]
    assert numbers(load(Video(film(*FILMS[form]), sampling="keyframes", frames=2))) == [10, 30]


@FORMS
def test_a_part_begins_at_second_zero(form: str) -> None:
    clip = load(Video(film(*FILMS[form]), frames=5, start=1.0, end=2.0))
    assert clip.times == pytest.approx([0.1, 0.3, 0.5, 0.7, 0.9], abs=0.101)
    assert np.abs(np.array(numbers(clip)) - 10 - clip.times * 10).max() < 1.1
    assert clip.sound is not None
    assert clip.sound.seconds == pytest.approx(1, abs=0.001)


def test_every_frame_equals_a_plain_decoding() -> None:
    data = film(*FILMS["mp4"])
    with av.open(io.BytesIO(data)) as file:
        plain = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
    clip = load(Video(data, frames=40))
    np.testing.assert_array_equal(clip.frames, np.stack(plain))
    few = load(Video(data, frames=4))  # jumps between keyframes
    np.testing.assert_array_equal(few.frames, np.stack([plain[i] for i in (5, 15, 25, 35)]))


def test_a_turned_video_is_upright() -> None:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as file:
        stream = file.add_stream("libx264", rate=10)
        stream.height, stream.width, stream.pix_fmt = 32, 64, "yuv420p"
        picture = np.zeros((32, 64, 3), np.uint8)
        picture[:, :32] = 255  # white on the left as stored
        for _ in range(3):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        file.mux(stream.encode())
    data = bytearray(buffer.getvalue())
    matrix = data.index(struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000), data.index(b"tkhd"))
    quarter = struct.pack(">9i", 0, 0x10000, 0, -0x10000, 0, 0, 32 << 16, 0, 0x40000000)  # clockwise
    data[matrix : matrix + 36] = quarter
    clip = load(Video(bytes(data)))
    assert clip.frames.shape == (3, 64, 32, 3)
    assert clip.frames[0, :24].mean() > 240, "what was left is above"
    assert clip.frames[0, 40:].mean() < 15


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG"])
def test_animations(form: str) -> None:
    data = animation(form)
    clip = load(Video(data, frames=12))
    assert numbers(clip, 20) == list(range(12))
    assert clip.times == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.9, 1.2, 1.5, 1.8, 2.1])
    assert clip.sound is None
    assert numbers(load(Video(data, frames=4)), 20) == [3, 7, 9, 11], "even in time, not in number"
    assert numbers(load(Video(data, sampling="fps", fps=2)), 20) == [0, 5, 7, 9, 10]
    assert numbers(load(Video(data, start=0.6, end=1.2)), 20) == [6, 7]
    assert load(Image(data)).getpixel((3, 3)) == (0, 0, 0), "as an image it is its first frame"


def test_a_frame_that_is_larger_than_the_screen() -> None:
    data = bytearray(animation("GIF"))
    frame = data.index(b"\x2c\0\0\0\0", data.index(b"\x2c\0\0\0\0") + 1)
    for size, says in ((100, "damaged, frame 1 makes it 100 x 100 pixels"), (14_649, "over 25,000,000 pixels")):
        struct.pack_into("<HH", data, frame + 5, size, size)
        refused(bytes(data), says)


def test_a_still_picture_is_a_video_of_one_frame() -> None:
    PIL.Image.new("RGBA", (5, 4), (0, 0, 0, 0)).save(buffer := io.BytesIO(), "PNG")
    clip = load(Video(buffer.getvalue()))
    assert clip.frames.shape == (1, 4, 5, 3)
    assert clip.frames.min() == 255, "transparent is white"


@pytest.mark.parametrize("how", [{}, {"frames": 1}, {"sampling": "fps", "fps": 2.0}, {"sampling": "keyframes"}])
def test_a_film_of_one_frame(how: dict[str, Any]) -> None:
    with av.open(buffer := io.BytesIO(), "w", format="mp4") as file:
        stream = file.add_stream("libx264", rate=8)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        frame = np.full((48, 64, 3), 90, np.uint8)
        file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        file.mux(stream.encode())
    for source in (buffer.getvalue(), Clip(frame[None], np.zeros(1))):
        clip = load(Video(source, **how))
        assert clip.frames.shape == (1, 48, 64, 3)
        assert clip.times.tolist() == [0]
        with pytest.raises(BadMedia, match="no frames in the part"):
            load(Video(source, start=0.5, **how))


def test_clips_that_are_made() -> None:
    frames = np.arange(10, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    made = Clip(frames, np.arange(10) / 10 + 5, Sound(np.ones(16_000, np.float32), 16_000))
    clip = load(Video(lambda: made, frames=2, start=0.2, end=0.6))
    assert clip.frames[:, 0, 0, 0].tolist() == [3, 5]
    assert clip.times == pytest.approx([0.1, 0.3])
    assert clip.sound is not None
    assert clip.sound.seconds == pytest.approx(0.4)
    assert len(load(Video(made, frames=64)).frames) == 10
    for broken, times, says in (
        (frames[:0], [], "0 frames"),
        (frames.astype(float), np.arange(10), "uint8"),
        (frames, np.arange(9), "10 frames at 9 times"),
        (frames, np.arange(10)[::-1], "run backwards: 8 after 9 at row 1"),
        (frames, np.full(10, np.nan), "time 0 is NaN"),
    ):
        with pytest.raises(BadMedia, match=says):
            Clip(broken, np.array(times))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"frames": 0}, "0 frames; 1 to 64"),
        ({"frames": 65}, "65 frames; 1 to 64"),
        ({"frames": 2.5}, "frames: 2.5, a whole number"),
        ({"sampling": "all"}, "one of uniform, fps, keyframes, not 'all'"),
        ({"sampling": "fps"}, "fps says how many"),
        ({"fps": 1.0}, "only then"),
        ({"sampling": "fps", "fps": 0.0}, "0.0 frames a second; more than 0"),
        ({"sampling": "fps", "fps": float("nan")}, "nan frames a second"),
        ({"sampling": "fps", "fps": 1e9}, "1000000000.0 frames a second; more than 0 and at most 1,000"),
        ({"sampling": "fps", "fps": 20.0}, r"4 seconds at 20 frames a second are 80 frames; at most 64"),
        ({"start": 9.0}, r"no frames in the part from 9.0 to None seconds; the last one is over at 4"),
        ({"start": 2.0, "end": 1.0}, "start is 0 or more and lies before end"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], says: str) -> None:
    with pytest.raises(BadMedia, match=says):
        load(Video(film(), **options))


def refused(data: bytes, says: str, **options: Any) -> None:
    began = time.perf_counter()
    with pytest.raises(BadMedia, match=says) as error:
        load(Video(data, **options))
    assert time.perf_counter() - began < 10
    assert str(error.value).startswith(f"<{len(data):,} bytes>: ")
    assert "0x" not in str(error.value)


def test_large_ones_are_refused_by_their_headers() -> None:
    large = media_files.motion_jpeg([(3000, 4000)] * 9)
    refused(large, "9 frames of 4000 x 3000 are 108,000,000 pixels; at most 100,000,000", frames=64)
    assert load(Video(large, frames=2)).frames.shape == (2, 3000, 4000, 3)
    PIL.Image.new("P", (2000, 2000)).save(buffer := io.BytesIO(), "GIF")
    one, frame = buffer.getvalue(), buffer.getvalue().index(b"\x2c\0\0\0\0")
    refused(
        one[:frame] + one[frame:-1] * 201 + b";",
        "201 frames of 2000 x 2000 are 804,000,000 pixels; at most 100,000,000 are decoded. All of its frames count: "
        "scale it down, or make it shorter",
        frames=1,
    )
    refused(media_files.png_that_says(50_000, 50_000), "over 25,000,000 pixels")
    refused(media_files.png_that_says(6000, 5000), "6000 x 5000 pixels; at most 25,000,000")


def boxes(data: bytes, name: bytes) -> int:
    """Where the contents of the first MP4 box of that name begin."""
    return data.index(name) + 4


def test_frames_of_other_sizes_than_the_first() -> None:
    clip = load(Video(media_files.motion_jpeg([SIDES, (24, 32), (96, 200)]), sound=False))
    assert clip.frames.shape == (3, *SIDES, 3)
    assert numbers(clip) == [0, 1, 2]
    refused(media_files.motion_jpeg([SIDES, (5100, 5000)]), "damaged|5000 x 5100 pixels")


@pytest.mark.parametrize(
    ("times", "says"),
    [
        (np.arange(30) / 1e9, "it declares 1,000,000,000 frames a second; at most 1,000"),
        (np.zeros(30), "it declares all frames at one time"),
        (np.array([0, 1e6]), "not within 86,400 seconds"),
        (np.array([0, np.inf]), "not within"),
        (np.array([]), "0 frames"),
    ],
)
def test_times_that_no_video_has(times: Any, says: str) -> None:
    with pytest.raises(BadMedia, match=says):
        choose(times, ends(times), np.ones(len(times), bool), Video(b""))


@pytest.mark.parametrize(
    ("ticks", "each"), [(2**32 - 1, 1024), (0, 1024), (1, 2**27), (10_240, 0), (10_240, 2**32 - 1)]
)
def test_clocks_that_lie(ticks: int, each: int) -> None:
    data = bytearray(film("mp4", "libx264", None))
    struct.pack_into(">I", data, boxes(data, b"mdhd") + 12, ticks)  # a second
    struct.pack_into(">I", data, boxes(data, b"stts") + 12, each)  # ticks a frame
    refused_or_clip(bytes(data))


def refused_or_clip(data: bytes) -> None:
    with contextlib.suppress(BadMedia):
        assert len(load(Video(data)).frames)


def test_counts_that_lie() -> None:
    data = bytearray(film("mp4", "libx264", None))
    cut = data[: data.index(b"mdat") + 600]
    refused(bytes(cut), "cut off: its header declares")
    whole = film("webm", "libvpx-vp9", None)
    refused(whole[: len(whole) // 2], "cut off: its header declares")
    struct.pack_into(">I", data, boxes(data, b"stsz") + 8, 2**31 - 1)
    refused_or_clip(bytes(data))


def test_no_frames() -> None:
    refused(film("mp4", None, "aac"), "0 frames: it holds no pictures, only sound")


PLAYLISTS = [
    b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n",
    b"ffconcat version 1.0\nfile '/etc/passwd'\n",
    b"<?xml version='1.0'?><MPD xmlns='urn:mpeg:dash:schema:mpd:2011'/>",
    b"v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n",
    b"http://127.0.0.1/a.mp4\n",
    b"FLV\1\1\0\0\0\x09",
    b"G" + b"\0" * 187,
    b"",
]


@pytest.mark.parametrize("data", PLAYLISTS)
def test_playlists_and_other_formats_are_never_opened(data: bytes, tmp_path: Path) -> None:
    (path := tmp_path / "film.mp4").write_bytes(data)
    with pytest.raises(BadMedia, match=r"film\.mp4: not a video that can be read. Formats: MP4, MOV, WEBM"):
        load(Video(path))


def test_a_playlist_behind_a_videos_first_bytes_opens_nothing(tmp_path: Path) -> None:
    (target := tmp_path / "target.mp4").write_bytes(film())
    lists = b"#EXTM3U\n" + str(target).encode() + b"\n"
    for head in (b"\0\0\0\x14ftypisom\0\0\0\0", b"\x1a\x45\xdf\xa3", b"RIFF\0\0\0\0AVI "):
        refused(head + lists * 20, "damaged|0 frames|cut off")


def test_codecs_that_are_not_decoded() -> None:
    refused(film("matroska", "ffv1", None), "the codec ffv1 is not decoded. Known: h264, ")


def test_a_sound_may_end_before_its_video() -> None:
    """Pictures for 5 seconds, sound for 2: a part after that has none, and the sound alone has no such part."""
    pixels = np.zeros((48, 64, 3), np.uint8)
    short = told_media.film([(pixels, 5)], Sound(np.zeros(32_000, np.float32), 16_000))
    assert load(Video(short, start=1.0)).sound is not None
    clip = load(Video(short, frames=2, start=3.0))
    assert (len(clip.frames), clip.sound) == (2, None)
    with pytest.raises(BadMedia, match="the part begins at 3 seconds and the sound ends at 2"):
        load(Audio(short, start=3.0))
