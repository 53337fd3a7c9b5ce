"""A drawing as another hand might draw it: a few flat colours, black outlines.

Vendors differ in style more than in what they draw. Without any drawing of an outline style to learn from, this shows a
model one: colours are averaged and reduced to a few, and their borders and the silhouette are traced in black.
"""

from __future__ import annotations

import random
from functools import reduce

from PIL import Image, ImageChops, ImageEnhance, ImageFilter

MARGIN = 8  # pixels added around the drawing, for the outline


def outlined(picture: Image.Image, rng: random.Random) -> Image.Image:
    """The RGBA drawing with flat colours and outlines of 3 to 7 pixels, a little larger than it was."""
    width = rng.choice((3, 5, 5, 7))
    canvas = Image.new("RGBA", (picture.width + 2 * MARGIN, picture.height + 2 * MARGIN))
    canvas.paste(picture, (MARGIN, MARGIN), picture)
    solid = canvas.getchannel("A").point(lambda value: 255 if value > 100 else 0)
    flat = _flat(canvas, rng)
    traced = flat.copy()
    if rng.random() < 0.7:
        traced.paste((0, 0, 0), (0, 0), ImageChops.darker(_borders(flat, max(3, width - 2)), solid))
    grown = solid.filter(ImageFilter.MaxFilter(width))
    traced.paste((0, 0, 0), (0, 0), ImageChops.subtract(grown, solid.filter(ImageFilter.MinFilter(3))))
    traced.putalpha(grown)
    return traced


def _flat(canvas: Image.Image, rng: random.Random) -> Image.Image:
    """Four to eight colours, a little stronger and shifted in hue."""
    rgb = Image.new("RGB", canvas.size, "white")
    rgb.paste(canvas, (0, 0), canvas)
    few = rgb.filter(ImageFilter.MedianFilter(7)).quantize(rng.choice((4, 5, 6, 8)), method=Image.Quantize.MEDIANCUT)
    flat = ImageEnhance.Color(few.convert("RGB").filter(ImageFilter.ModeFilter(7))).enhance(rng.uniform(0.8, 1.8))
    shift = rng.randint(-20, 20) if rng.random() < 0.5 else 0
    hue, saturation, value = flat.convert("HSV").split()
    return Image.merge("HSV", (hue.point(lambda tone: (tone + shift) % 256), saturation, value)).convert("RGB")


def _borders(flat: Image.Image, width: int) -> Image.Image:
    """White where two flat colours meet."""
    steps = [
        ImageChops.difference(band.filter(ImageFilter.MaxFilter(3)), band.filter(ImageFilter.MinFilter(3)))
        for band in flat.split()
    ]
    edge = reduce(ImageChops.lighter, steps).point(lambda value: 255 if value > 40 else 0)
    return edge.filter(ImageFilter.MedianFilter(3)).filter(ImageFilter.MaxFilter(width))
