"""Real media with something to tell: films with titles, speech for a sound track, and pictures of text."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

from isthmus import Audio
from isthmus.media import load
from isthmus.media.forms import Sound

FPS, RATE = 8, 16_000
SIDES = (180, 320)  # height, width


def page(*lines: tuple[tuple[int, int], str], size: tuple[int, int] = SIDES[::-1], height: int = 22) -> PIL.Image.Image:
    """A white picture with black text at places (x, y)."""
    picture = PIL.Image.new("RGB", size, "white")
    for place, text in lines:
        PIL.ImageDraw.Draw(picture).text(place, text, "black", PIL.ImageFont.load_default(height))
    return picture


def joined(clips: Sequence[Path], pause: float = 0.5) -> tuple[Sound, list[tuple[float, float]]]:
    """Clips of speech one after another, with a pause after each, and the seconds in which each is heard."""
    samples, spans, now = [], [], 0.0
    for clip in clips:
        sound = load(Audio(clip)).resampled(RATE)
        samples += [sound.samples, np.zeros(round(pause * RATE), np.float32)]
        spans.append((now, now + sound.seconds))
        now += sound.seconds + pause
    return Sound(np.concatenate(samples), RATE), spans


def film(shots: Sequence[tuple[npt.NDArray[np.uint8], float]], sound: Sound | None = None) -> bytes:
    """An mp4 of shots, each a frame [H, W, 3], or several [T, H, W, 3] of `FPS` a second, for so many seconds."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as file:
        first = shots[0][0]
        video = file.add_stream("libx264", rate=FPS)
        video.height, video.width = first.shape[-3:-1]
        video.pix_fmt, video.thread_count = "yuv420p", 1
        track = file.add_stream("aac", rate=RATE, layout="mono") if sound is not None else None
        index = 0
        for frames, seconds in shots:
            for number in range(round(seconds * FPS)):
                turn = number % (2 * len(frames))  # forwards, then backwards: nothing jumps
                picture = frames if frames.ndim == 3 else frames[min(turn, 2 * len(frames) - 1 - turn)]
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
                frame.pts = index
                index += 1
                file.mux(video.encode(frame))
        file.mux(video.encode())
        if track is not None and sound is not None:
            heard = av.AudioFrame.from_ndarray(sound.samples[None], format="fltp", layout="mono")
            heard.rate, heard.pts = RATE, 0
            file.mux(track.encode(heard))
            file.mux(track.encode())
    return buffer.getvalue()
