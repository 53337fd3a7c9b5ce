"""`isthmus.media` alone makes arrays of the bytes of media."""

from __future__ import annotations

import io
import re
from pathlib import Path

import media_files as files
import numpy as np
import PIL.Image
import pytest

from isthmus.errors import BadMedia
from isthmus.media.animation import load_stills, moves
from isthmus.media.image import load_rgba, load_svg

SOURCE = Path(__file__).parents[2] / "src/isthmus"
DECODERS = re.compile(
    r"\b(Image\.open|np\.(load|fromfile|loadtxt|genfromtxt)|numpy\.load|soundfile|sf\.read|av\.open|wave\.open|imageio"
    r"|cv2|librosa|torchaudio|torchvision\.io|resvg_py|tifffile|pypdfium2|trimesh|laspy)\b"
)
MEDIA = "media/"
NO_MEDIA = ("parts/", "evaluate/benchmarks/retrieval.py")  # weights, packages, matrices of similarities


def test_no_other_module_decodes() -> None:
    found = {
        f"{path.relative_to(SOURCE)}:{number}: {line.strip()}"
        for path in SOURCE.rglob("*.py")
        if not path.relative_to(SOURCE).as_posix().startswith((MEDIA, *NO_MEDIA))
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if DECODERS.search(line)
    }
    assert not found, "read media through isthmus.media.load, or the helpers beside it"
    assert any(DECODERS.search(path.read_text(encoding="utf-8")) for path in (SOURCE / "media").glob("*.py"))


def test_transparency_is_kept() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 12, 4)).astype(np.uint8)
    PIL.Image.fromarray(pixels).save(buffer := io.BytesIO(), "PNG")
    np.testing.assert_array_equal(np.asarray(load_rgba(buffer.getvalue())), pixels)
    box = b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 50 50"><rect width="50" height="10"/></svg>'
    drawn = np.asarray(load_svg(box, 20))
    assert drawn.shape == (20, 20, 4)
    assert drawn[..., 3].max(1).tolist() == [255] * 4 + [0] * 16


def test_stills_of_an_animation() -> None:
    frames = [PIL.Image.new("RGBA", (6, 5), (40 * k, 0, 0, 50 * k)) for k in range(5)]
    frames[0].save(buffer := io.BytesIO(), "WEBP", save_all=True, append_images=frames[1:], lossless=True, exact=True)
    stills = load_stills(buffer.getvalue(), 3)
    assert [still.getpixel((0, 0)) for still in stills] == [frames[k].getpixel((0, 0)) for k in (0, 1, 3)]
    assert moves(buffer.getvalue())
    assert not moves(files.animation("WEBP", 1))
    with pytest.raises(BadMedia, match="9 bytes>: not an animation"):
        moves(b"no webp!!")
    with pytest.raises(BadMedia, match="9 bytes>: "):
        load_stills(b"no webp!!", 3)
