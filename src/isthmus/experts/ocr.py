"""`ocr`: the text in a picture, or on the screen in a video, by RapidOCR: PP-OCR's models (Li et al., 2022,
arXiv:2206.03001, and later versions), which find lines and read them, on ONNX Runtime.

`load()` gives an expert; its `lines(picture)` have boxes and confidences too, for documents.
"""

from __future__ import annotations

import difflib
import threading
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from isthmus.experts import _frames, kind_of
from isthmus.experts._told import Told
from isthmus.extras import need
from isthmus.media import load as decode
from isthmus.types import Image, Medium, Video

ABOUT = "the text in a picture or on the screen, by RapidOCR (the extra ocr)"
KINDS = ("image", "video")
SHORT = "ocr"
CONFIDENCE = 0.7  # of a line that is told, at least
RATE, FRAMES = 2.0, 64  # of a video: frames read in a second, and in all
ALIKE = 0.8  # of two lines' characters: they are one line that was read twice
SAME, CELL = 6.0, 8  # grey levels that the mean of a cell of so many pixels moves by noise; less is the same frame


@dataclass(frozen=True)
class Line:
    """A line of text, its corners [4, 2] in pixels (x, y), from the upper left clockwise, and a confidence in 0..1."""

    text: str
    box: tuple[tuple[float, float], ...]
    confidence: float

    @property
    def top(self) -> float:
        return min(y for _, y in self.box)

    @property
    def bottom(self) -> float:
        return max(y for _, y in self.box)

    @property
    def left(self) -> float:
        return min(x for x, _ in self.box)


def load() -> Ocr:
    """An expert for text in pictures. Raises `PartUnavailable` where the extra `ocr` is not installed."""
    return Ocr()


class Ocr:
    """Called with a picture or video, it tells the text in it; see `load`."""

    def __init__(self, confidence: float = CONFIDENCE) -> None:
        threads = torch.get_num_threads()
        engine = "EngineConfig.onnxruntime"
        need("onnxruntime", "ocr")
        self.read = need("rapidocr", "ocr").RapidOCR(
            params={
                "Global.log_level": "critical",
                f"{engine}.intra_op_num_threads": threads,
                f"{engine}.inter_op_num_threads": 1,
            }
        )
        self.confidence = confidence
        self.lock = threading.Lock()  # its settings for a call lie in the reader itself

    def __call__(self, medium: Medium) -> list[Told]:
        """Lines in reading order; of a video, from the first frame to the last in which a line was read."""
        kind_of(medium, KINDS, "ocr")
        if isinstance(medium, Video):
            return self._over_time(medium)
        assert isinstance(medium, Image)
        return [Told("text", line.text) for line in self.lines(np.asarray(decode(medium)))]

    def lines(self, picture: npt.NDArray[np.uint8]) -> list[Line]:
        """The lines of a picture [H, W, 3] in RGB, in reading order."""
        with self.lock:
            found = self.read(np.ascontiguousarray(picture[..., ::-1]))
        if found.boxes is None or found.txts is None:
            return []
        lines = [
            Line(" ".join(text.split()), tuple((float(x), float(y)) for x, y in box), float(score))
            for text, box, score in zip(found.txts, found.boxes, found.scores, strict=True)
        ]
        return reading_order(line for line in lines if line.text and line.confidence >= self.confidence)

    def _over_time(self, video: Video) -> list[Told]:
        """A line that consecutive frames show is told once, as it was read with most confidence.

        It is there until the frame that does not show it; of the last frame, as long as that of the one before.
        """
        done: list[tuple[Line, float, float]] = []
        shown: list[tuple[Line, float]] = []  # since when
        before: Any = None
        lines: list[Line] = []
        times = [0.0]
        for time, frame in _frames.walk(video, RATE, FRAMES):
            times.append(time)
            cells = _cells(frame)
            if before is None or np.abs(cells - before).max() >= SAME:
                lines, before = self.lines(frame), cells
            still: list[tuple[Line, float]] = []
            for line in lines:
                old = next((one for one in shown if alike(one[0], line)), None)
                if old is None:
                    still.append((line, time))
                    continue
                shown.remove(old)
                better = line if line.confidence > old[0].confidence else old[0]
                still.append((replace(better, box=line.box), old[1]))
            done += [(line, since, time) for line, since in shown]  # what is not there any more
            shown = still
        end = 2 * times[-1] - times[-2] if len(times) > 2 else times[-1] + 1 / RATE
        spans = sorted(
            done + [(line, since, end) for line, since in shown], key=lambda one: one[1]
        )  # keeps their order
        return [Told("text", line.text, first, last) for line, first, last in spans]


def alike(one: Line, other: Line) -> bool:
    """Whether two frames' lines are the same, read twice; other digits are another line.

    >>> one, other, more = (Line(text, ((0.0, 0.0),) * 4, 0.9) for text in ("Part 1", "Part1.", "Part 2"))
    >>> alike(one, other), alike(one, more)
    (True, False)
    """
    a, b = one.text.casefold(), other.text.casefold()
    if [char for char in a if char.isdigit()] != [char for char in b if char.isdigit()]:
        return False
    return a == b or difflib.SequenceMatcher(None, a, b, autojunk=False).ratio() > ALIKE


def reading_order(lines: Iterable[Line]) -> list[Line]:
    """From top to bottom, and from left to right what stands in one row: whose middle lies within the row's first.

    >>> corners = lambda x, y: ((x, y), (x + 9, y), (x + 9, y + 10), (x, y + 10))
    >>> lines = [Line("c", corners(0, 30), 1), Line("b", corners(50, 2), 1), Line("a", corners(0, 4), 1)]
    >>> [line.text for line in reading_order(lines)]
    ['a', 'b', 'c']
    """
    rows: list[list[Line]] = []
    for line in sorted(lines, key=lambda line: line.top + line.bottom):
        middle = (line.top + line.bottom) / 2
        if rows and rows[-1][0].top <= middle <= rows[-1][0].bottom:
            rows[-1].append(line)
        else:
            rows.append([line])
    return [line for row in rows for line in sorted(row, key=lambda line: line.left)]


def _cells(frame: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Means of cells of `CELL` x `CELL` pixels, in grey; a rest at the edges is left out unless it is all."""
    height, width = (max(CELL, side // CELL * CELL) for side in frame.shape[:2])
    grey = frame.mean(axis=2, dtype=np.float32)
    grey = np.pad(grey, [(0, max(0, height - grey.shape[0])), (0, max(0, width - grey.shape[1]))], mode="edge")
    cells = grey[:height, :width].reshape(height // CELL, CELL, width // CELL, CELL)
    return np.asarray(cells.mean(axis=(1, 3)), np.float32)
