"""Tiles, held against the image processor of transformers' LLaVA-NeXT."""

from __future__ import annotations

import numpy as np
import PIL.Image
import pytest
import torch
from transformers import CLIPImageProcessorPil, LlavaNextImageProcessorPil

from isthmus.encoders import _pictures
from isthmus.encoders._tiles import best, cut

SIDE = 24
SIZES = [(50, 50), (96, 24), (31, 200), (100, 75), (25, 25), (300, 1), (47, 90), (640, 480)]


@pytest.mark.parametrize("size", SIZES)
def test_pieces_are_those_of_llava_next(size: tuple[int, int]) -> None:
    picture = PIL.Image.fromarray(np.random.default_rng(0).integers(0, 255, (*size[::-1], 3), np.uint8))
    grids = [(2, 2), (1, 1), (1, 2), (1, 3), (1, 4), (2, 1), (3, 1), (4, 1)]
    theirs = LlavaNextImageProcessorPil(
        size={"shortest_edge": SIDE},
        crop_size={"height": SIDE, "width": SIDE},
        image_grid_pinpoints=[[SIDE * rows, SIDE * columns] for rows, columns in grids],
    )
    wanted = theirs(picture, return_tensors="pt").pixel_values[0]
    ours = CLIPImageProcessorPil(size={"shortest_edge": 99})
    _pictures.resize(ours, SIDE)
    assert _pictures.side(ours) == SIDE
    found = ours(cut(picture, SIDE, 4, ours.resample), return_tensors="pt").pixel_values
    rows, columns = best(*size, SIDE, 4)
    assert len(found) == (1 if rows * columns == 1 else 1 + rows * columns)
    torch.testing.assert_close(found, wanted[: len(found)])
