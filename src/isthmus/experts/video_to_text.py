"""`video-to-text`: a video as text, in the manner of VideoChat-Text (Li et al., 2023, arXiv:2305.06355, section 3.1).

Speech, on-screen text, and a caption of each shot's middle frame, all with their seconds. Shots are what lies between
the cuts that PySceneDetect's adaptive detector finds (scenedetect.com): a frame that differs from the one before by far
more than its neighbours do, so that fast movement is no cut. The paper's other experts (tags, boxes, dense captions)
are not here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import PIL.Image

from isthmus.experts import Caption, _frames, kind_of, ocr, speech_to_text
from isthmus.experts._told import Told
from isthmus.extras import need
from isthmus.types import Medium, Video

ABOUT = "a video as text: speech, on-screen text, shots and a caption of each (the extra video)"
KINDS = ("video",)
SHORT = "video"
INCLUDES = ("speech-to-text", "ocr")
PARTS = ("whisper-tiny-en",)
RATE, FRAMES = 4.0, 256  # frames in which cuts are looked for: in a second, and in all
SHOTS = 32  # that get a caption: the longest
SIDE = 256  # pixels of a frame's longer side in which cuts are looked for


@dataclass(frozen=True)
class Shot:
    """What lies between two cuts, in seconds."""

    start: float
    end: float


def load(caption: Caption | None = None, part: str = speech_to_text.PARTS[0]) -> VideoToText:
    """An expert for videos. `caption` says of a picture what it shows; without it, there are no captions.

    Raises `PartUnavailable` where the extra `video` is not installed, or Whisper is not to be had.
    """
    return VideoToText(caption, part)


class VideoToText:
    """Called with a video, it tells what is said, written and shown in it; see `load`."""

    def __init__(self, caption: Caption | None, part: str) -> None:
        self.caption = caption
        need("scenedetect", "video")
        self.ocr = ocr.load()
        self.speech = speech_to_text.load(part)

    def __call__(self, medium: Medium) -> list[Told]:
        """All lines in order of time; of those that begin together, captions before text before speech."""
        kind_of(medium, KINDS, "video-to-text")
        assert isinstance(medium, Video)
        told = self._captions(medium) + self.ocr(medium) + self.speech(medium)
        return sorted(told, key=lambda one: one.start or 0.0)

    def _captions(self, video: Video) -> list[Told]:
        if self.caption is None:
            return []
        found = shots(video)
        found = sorted(sorted(found, key=lambda shot: shot.start - shot.end)[:SHOTS], key=lambda shot: shot.start)
        told = []
        for shot in found:
            frame = PIL.Image.fromarray(_frames.at(video, shot.start, shot.end))
            if said := " ".join(self.caption(frame).split()):
                told.append(Told("caption", said, shot.start, shot.end))
        return told


def shots(video: Video) -> list[Shot]:
    """The shots of a video, one after another from its start to its end; one, where there is no cut.

    Raises `BadMedia` for a video that does not decode.
    """
    detect: Any = need("scenedetect", "video")
    detector = detect.AdaptiveDetector(min_scene_len=1)
    times: list[float] = []
    cuts: set[int] = set()
    code: Any = lambda number: detect.FrameTimecode(number, RATE)  # it counts frames; the seconds are ours
    for number, (time, frame) in enumerate(_frames.walk(video, RATE, FRAMES)):
        step = -(-max(frame.shape[:2]) // SIDE)
        times.append(time)
        cuts |= {cut.frame_num for cut in detector.process_frame(code(number), np.ascontiguousarray(_bgr(frame, step)))}
    cuts |= {cut.frame_num for cut in detector.post_process(code(len(times) - 1))}
    begins = [0.0, *(times[cut] for cut in sorted(cuts) if cut > 0)]
    over = max(_frames.look(video).seconds, times[-1])
    return [Shot(a, b) for a, b in zip(begins, [*begins[1:], over], strict=True)]


def _bgr(frame: _frames.Frame, step: int) -> _frames.Frame:
    """Every `step`-th pixel, blue first, as the detector takes it."""
    return frame[::step, ::step, ::-1]
