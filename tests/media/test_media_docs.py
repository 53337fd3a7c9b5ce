"""What docs/media.md says: its example runs, its numbers are the caps', its formats are those that are read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from media_files import film, page, raster, sound

from isthmus.media import animation, audio, caps, image, points, series, video

PAGE = (Path(__file__).parents[2] / "docs/media.md").read_text(encoding="utf-8")


def test_the_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    PIL.Image.new("RGB", (20, 16), "red").save("cat.png")
    bands = np.random.default_rng(0).integers(0, 9000, (9, 8, 5)).astype(np.uint16)
    for name, data in {
        "paper.pdf": page(),
        "field.tif": raster(bands, photometric="minisblack", planarconfig="contig"),
        "speech.flac": sound("FLAC", rate=44_100),
        "street.mp4": film(),
        "chair.obj": b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n",
        "walk.csv": b"time,x,y\n0,1,2\n0.11,3,4\n",
    }.items():
        (tmp_path / name).write_bytes(data)
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    values: dict[str, Any] = {}
    exec(code, values)
    assert values["picture"].size == (20, 16)
    assert values["page"].mode == values["false_colour"].mode == "RGB"
    assert (values["speech"].rate, len(values["speech"].samples)) == (16_000, 16_000)
    assert values["clip"].frames.shape == (8, 48, 64, 3)
    assert values["clip"].sound is not None
    assert values["chair"].xyz.shape == values["chair"].normals.shape == (2048, 3)
    assert values["walk"].values.shape == (2, 6)
    assert values["walk"].names == ("x", "y")


@pytest.mark.parametrize("module", [image, audio, video, animation, points, series])
def test_every_format_is_named(module: Any) -> None:
    kind = "Video" if module is animation else module.__name__.rpartition(".")[2].capitalize()
    table = PAGE.split("## Formats")[1].split("\n## ")[0]
    rows = re.search(rf"^\| `{kind}` .*?(?=^\| `|^$)", table, re.MULTILINE | re.DOTALL)
    assert rows is not None
    assert [name for name in module.FORMATS if name not in rows[0]] == []


def test_the_caps() -> None:
    rows = dict(re.findall(r"^\| (.+?) \| (.+?) \|$", PAGE.split("## Caps")[1].split("\n## ")[0], re.MULTILINE))
    told = [rows[what] for what in rows if what not in ("what", "---")]
    assert told == [
        f"{caps.MAX_MEDIA}",
        f"{caps.MAX_REQUEST_PIXELS:,}",
        f"{caps.MAX_BYTES:,}",
        f"{caps.MAX_PIXELS:,}",
        f"{caps.MAX_FRAMES}",
        f"{caps.MAX_VIDEO_PIXELS:,}",
        f"{caps.MAX_FRAME_RATE:,}; {caps.MAX_VIDEO_SECONDS:,}",
        f"{caps.MAX_RASTER_BYTES:,}",
        f"{caps.MAX_SECONDS}",
        f"{caps.MIN_RATE:,} to {caps.MAX_RATE:,}",
        f"{caps.MAX_POINTS:,}",
        f"{caps.MAX_CHANNELS:,}; {caps.MAX_VALUES:,}",
        f"{caps.MEMORY // 2**30} GiB, {caps.CPU_SECONDS} s, {caps.WALL_SECONDS} s",
    ]
    assert f"{points.OF_A_MESH:,}, or `count`" in PAGE
