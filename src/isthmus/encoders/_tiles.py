"""A picture of high resolution as a thumbnail of the whole and tiles of it, each one encoded by itself.

AnyRes of LLaVA-NeXT (Liu et al., 2024, https://llava-vl.github.io/blog/2024-01-30-llava-next/), after LLaVA-1.5-HD (Liu
et al., 2023, arXiv:2310.03744, section 4.3). `most` = 4 gives that blog's grids: 2 x 2, 1 x {2, 3, 4}, {2, 3, 4} x 1.
"""

from __future__ import annotations

import math

import PIL.Image


def best(width: int, height: int, side: int, most: int) -> tuple[int, int]:
    """The grid (rows, columns) of at most `most` squares of `side` pixels that suits a picture's size best.

    It is the one in which the picture, scaled to fit, keeps the most of its own pixels; of several, the one with the
    fewest squares. So a small picture is one square.

    >>> best(640, 480, 224, 4), best(1000, 200, 224, 4), best(200, 300, 224, 2), best(200, 200, 224, 4)
    ((2, 2), (1, 4), (2, 1), (1, 1))
    """

    def kept(grid: tuple[int, int]) -> int:
        scale = min(grid[1] * side / width, grid[0] * side / height)
        return min(int(width * scale) * int(height * scale), width * height)

    grids = [(rows, columns) for rows in range(1, most + 1) for columns in range(1, most // rows + 1)]
    return max(grids, key=lambda grid: (kept(grid), -math.prod(grid)))


def cut(picture: PIL.Image.Image, side: int, most: int, resample: int) -> list[PIL.Image.Image]:
    """The thumbnail, squashed to a square, and the tiles of an RGB picture row by row; all squares of `side` pixels.

    For the tiles the picture is scaled to fit its grid and stands in the middle of it, on black. Where the best grid
    is one square, the thumbnail is all.
    """
    how = PIL.Image.Resampling(resample)
    thumbnail = picture.resize((side, side), how)
    rows, columns = best(*picture.size, side, most)
    if rows * columns == 1:
        return [thumbnail]
    width, height = columns * side, rows * side
    scale = min(width / picture.width, height / picture.height)
    fits = min(math.ceil(picture.width * scale), width), min(math.ceil(picture.height * scale), height)
    canvas = PIL.Image.new("RGB", (width, height))
    canvas.paste(picture.resize(fits, how), ((width - fits[0]) // 2, (height - fits[1]) // 2))
    corners = [(x, y) for y in range(0, height, side) for x in range(0, width, side)]
    return [thumbnail, *(canvas.crop((x, y, x + side, y + side)) for x, y in corners)]
