"""Small real files of every format, written by the formats' own libraries."""

from __future__ import annotations

import functools
import io
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import Any

import av
import numpy as np
import PIL.Image
import soundfile

RATE = 16_000
SINE = (0.5 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)).astype(np.float32)  # one second
FPS, SIDES = 10, (48, 64)  # frames a second; height and width


@functools.cache
def sound(
    form: str = "WAV", subtype: str | None = None, channels: int = 1, seconds: float = 1, rate: int = RATE
) -> bytes:
    """A tone of 440 Hz; in a second channel, silence."""
    tone = (0.5 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate)) / rate)).astype(np.float32)
    samples = np.zeros((len(tone), channels), np.float32)
    samples[:, 0] = tone
    soundfile.write(buffer := io.BytesIO(), samples, rate, format=form, subtype=subtype)
    return buffer.getvalue()


def silence(form: str, codec: str, seconds: int, rate: int = 8000) -> bytes:
    """Nothing to hear for long, in few bytes; `codec` is soundfile's for OGG, else FFmpeg's."""
    buffer = io.BytesIO()
    if form == "OGG":
        soundfile.write(buffer, np.zeros(seconds * rate, np.float32), rate, format=form, subtype=codec)
        return buffer.getvalue()
    with av.open(buffer, "w", format=form) as file:
        stream = file.add_stream(codec, rate=rate, layout="mono")
        for second in range(seconds):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, rate), np.int16), format="s16", layout="mono")
            frame.rate, frame.pts = rate, second * rate
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return buffer.getvalue()


@contextmanager
def as_before() -> Iterator[None]:
    """Give this thread back how it is scheduled: root's AV1 encoder (SVT) leaves it in real time, before all others."""
    if not hasattr(os, "sched_getscheduler"):  # macOS
        yield
        return
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, parameters)


@functools.cache
@as_before()
def film(
    form: str = "mp4",
    codec: str | None = "libx264",
    audio: str | None = "aac",
    count: int = 40,
    sides: tuple[int, int] = SIDES,
    fps: int = FPS,
) -> bytes:
    """Frames of one grey each, 6 times their number, with a keyframe every tenth; a tone of 440 Hz beside them."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=form) as file:
        video = tone = None
        if codec:
            video = file.add_stream(codec, rate=fps)
            video.height, video.width = sides
            video.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            video.codec_context.gop_size = 10
            video.thread_count = 1
        if audio:
            tone = file.add_stream(audio, rate=48_000 if "opus" in audio else RATE, layout="mono")
        for index in range(count if video else 0):
            grey = np.full((*sides, 3), index * 6 % 256, np.uint8)
            frame = av.VideoFrame.from_ndarray(grey, format="rgb24")
            frame.pts = index
            file.mux(video.encode(frame))
        if video:
            file.mux(video.encode())
        if tone:
            rate = tone.rate
            wave = 0.5 * np.sin(2 * np.pi * 440 * np.arange(round(count / fps * rate)) / rate)
            frame = av.AudioFrame.from_ndarray(wave.astype(np.float32)[None], format="fltp", layout="mono")
            frame.rate, frame.pts = rate, 0
            file.mux(tone.encode(frame))
            file.mux(tone.encode())
    return buffer.getvalue()


def motion_jpeg(sides: list[tuple[int, int]]) -> bytes:
    """An AVI whose frames are of the sizes given, whatever its header says: that of the first."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="avi") as file:
        video = file.add_stream("mjpeg", rate=FPS)
        (video.height, video.width), video.pix_fmt = sides[0], "yuvj420p"
        for index, (height, width) in enumerate(sides):
            PIL.Image.new("L", (width, height), 6 * index).save(jpeg := io.BytesIO(), "JPEG")
            packet = av.Packet(jpeg.getvalue())
            packet.stream, packet.pts, packet.dts, packet.time_base = video, index, index, Fraction(1, FPS)
            packet.is_keyframe = True
            file.mux(packet)
    return buffer.getvalue()


FILMS: dict[str, tuple[str, str, str | None]] = {
    "mp4": ("mp4", "libx264", "aac"),
    "webm": ("webm", "libvpx-vp9", "libopus"),
    "avi": ("avi", "mpeg4", "libmp3lame"),
    "mkv": ("matroska", "libx264", "libopus"),
}


@functools.cache
def animation(form: str = "GIF", count: int = 12, sides: tuple[int, int] = SIDES) -> bytes:
    """Frames of one grey each, 20 times their number; the first six for 0.1 seconds, the others for 0.3."""
    frames = [PIL.Image.new("RGB", sides[::-1], (index * 20 % 256,) * 3) for index in range(count)]
    options: dict[str, Any] = {"lossless": True} if form == "WEBP" else {}
    durations = [100 if index < 6 else 300 for index in range(count)]
    buffer = io.BytesIO()
    frames[0].save(buffer, form, save_all=True, append_images=frames[1:], duration=durations, **options)
    return buffer.getvalue()


def page(text: str = "") -> bytes:
    """A PDF of two pages of 3 x 2 inches, the first red, the second blue."""
    red, blue = (PIL.Image.new("RGB", (300, 200), colour) for colour in ("red", "blue"))
    red.save(buffer := io.BytesIO(), "PDF", save_all=True, append_images=[blue], resolution=100)
    return buffer.getvalue()


def raster(values: Any, **options: Any) -> bytes:
    """A TIFF of the values: [H, W, C], or [C, H, W] with planarconfig="separate"."""
    import tifffile

    tifffile.imwrite(buffer := io.BytesIO(), values, **options)
    return buffer.getvalue()


def ply(xyz: Any, form: str = "ascii", faces: Any = (), colours: Any = None) -> bytes:
    """A PLY of points, with red, green and blue of 0 to 255 if they are given."""
    kinds = [("x", "f4", "float"), ("y", "f4", "float"), ("z", "f4", "float")]
    if colours is not None:
        kinds += [(name, "u1", "uchar") for name in ("red", "green", "blue")]
    head = [
        f"ply\nformat {form} 1.0",
        f"element vertex {len(xyz)}",
        *(f"property {kind} {name}" for name, _, kind in kinds),
    ]
    if len(faces):
        head += [f"element face {len(faces)}", "property list uchar int vertex_indices"]
    order = ">" if form == "binary_big_endian" else "<"
    rows = [(*map(float, point), *(() if colours is None else colours[index])) for index, point in enumerate(xyz)]
    if form == "ascii":
        body = "".join(" ".join(map(str, row)) + "\n" for row in rows)
        body += "".join(f"{len(face)} " + " ".join(map(str, face)) + "\n" for face in faces)
        return ("\n".join([*head, "end_header"]) + "\n" + body).encode()
    table = np.array(rows, [(name, order + kind) for name, kind, _ in kinds]).tobytes()
    table += b"".join(struct.pack(f"{order}B{len(face)}i", len(face), *face) for face in faces)
    return ("\n".join([*head, "end_header"]) + "\n").encode() + table


def las(xyz: Any, colours: Any = None, compressed: bool = False) -> bytes:
    """A LAS, or LAZ, with coordinates in centimetres."""
    import laspy

    header = laspy.LasHeader(point_format=0 if colours is None else 3, version="1.2")
    header.scales, header.offsets = [0.01] * 3, np.floor(np.min(xyz, axis=0))
    file = laspy.LasData(header)
    file.x, file.y, file.z = np.asarray(xyz, float).T
    if colours is not None:
        file.red, file.green, file.blue = np.asarray(colours).T
    file.write(buffer := io.BytesIO(), do_compress=compressed, laz_backend=laspy.LazBackend.Lazrs)
    return buffer.getvalue()


def npy(array: Any) -> bytes:
    """A NPY of the array."""
    np.save(buffer := io.BytesIO(), array)
    return buffer.getvalue()


def npy_that_says(shape: str, dtype: str = "<f4", body: bytes = b"\0" * 64) -> bytes:
    """A NPY whose header declares a shape that its few bytes do not hold."""
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}}}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + body


def table(columns: dict[str, Any]) -> bytes:
    """A Parquet of the columns."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table(columns), buffer := io.BytesIO())
    return buffer.getvalue()


def png_that_says(width: int, height: int) -> bytes:
    """A PNG whose header declares a size that its few bytes do not hold."""
    chunk = lambda name, data: struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")
    )
