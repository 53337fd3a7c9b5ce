"""A drawing as another hand might draw it: a few flat colours, black outlines.

Vendors differ in style more than in what they draw. Without any drawing of an outline style to learn from, this shows a
model one: colours are averaged and reduced to a few, and their borders and the silhouette are traced in black.
"""

from __future__ import annotations

import random
from functools import reduce

from PIL import Image, ImageChops, ImageEnhance, ImageFilter

SIDE = 112  # pixels: a scene shows no more, and a filter's time goes with their number
MARGIN = 5  # pixels added around the drawing, for the outline


def outlined(picture: Image.Image, rng: random.Random) -> Image.Image:
    """The RGBA drawing, `SIDE` pixels and a margin, in flat colours with outlines of about a fortieth of its side."""
    width = rng.choice((3, 3, 5))
    picture = picture.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    canvas = Image.new("RGBA", (SIDE + 2 * MARGIN, SIDE + 2 * MARGIN))
    canvas.paste(picture, (MARGIN, MARGIN), picture)
    solid = canvas.getchannel("A").point(lambda value: 255 if value > 100 else 0)
    flat = _flat(canvas, rng)
    traced = flat.copy()
    if rng.random() < 0.7:
        traced.paste((0, 0, 0), (0, 0), ImageChops.darker(_borders(flat), solid))
    grown = solid.filter(ImageFilter.MaxFilter(width))
    traced.paste((0, 0, 0), (0, 0), ImageChops.subtract(grown, solid.filter(ImageFilter.MinFilter(3))))
    traced.putalpha(grown)
    return traced


def _flat(canvas: Image.Image, rng: random.Random) -> Image.Image:
    """Four to eight colours, a little stronger and shifted in hue."""
    rgb = Image.new("RGB", canvas.size, "white")
    rgb.paste(canvas, (0, 0), canvas)
    few = rgb.filter(ImageFilter.MedianFilter(5)).quantize(rng.choice((4, 5, 6, 8)), method=Image.Quantize.MEDIANCUT)
    flat = ImageEnhance.Color(few.convert("RGB")).enhance(rng.uniform(0.8, 1.8))
    shift = rng.randint(-20, 20) if rng.random() < 0.5 else 0
    hue, saturation, value = flat.convert("HSV").split()
    return Image.merge("HSV", (hue.point(lambda tone: (tone + shift) % 256), saturation, value)).convert("RGB")


def _borders(flat: Image.Image) -> Image.Image:
    """White where two flat colours meet."""
    spread = ImageChops.difference(flat.filter(ImageFilter.MaxFilter(3)), flat.filter(ImageFilter.MinFilter(3)))
    edge = reduce(ImageChops.lighter, spread.split()).point(lambda value: 255 if value > 40 else 0)
    return edge.filter(ImageFilter.MedianFilter(3))
