"""Bytes become arrays here and nowhere else, under one set of caps."""

from isthmus.media.image import load, load_image

__all__ = ["load", "load_image"]
