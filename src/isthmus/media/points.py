"""Point clouds and meshes: a path, bytes, a `Cloud`, an array or a function that makes one."""

from __future__ import annotations

import io
import re
import struct
from typing import Any

import numpy as np
import numpy.typing as npt

from isthmus.errors import BadMedia
from isthmus.media import caps, npy, sandbox
from isthmus.media.forms import Cloud
from isthmus.types import Points

FORMATS = ("PLY", "OBJ", "LAS", "LAZ", "NPY")
OF_A_MESH = 8192  # points, where none are asked for
RECORD = 54  # bytes of a LAS's variable length record, at least
UNKNOWN = f"not points that can be read. Formats: {', '.join(FORMATS)}"


def load_points(medium: Points) -> Cloud:
    """The points of a cloud, or points spread evenly over the surface of a mesh with its colours and normals.

    An array, and a NPY file, is [N, 3], or [N, 6] with colours (0..1, or 0..255 if one is above 1). Raises `BadMedia`
    when the file is missing, not one of `FORMATS`, damaged, holds no points, a coordinate that is NaN or infinite, or
    more than `caps.MAX_POINTS` points, vertices or faces (declared, and again when they are read).
    """
    if medium.count is not None:
        caps.check_points(medium.count, "points asked for")
    source: Any = medium.source() if callable(medium.source) else medium.source
    if isinstance(source, Cloud):
        return drawn(source, medium)
    if isinstance(source, np.ndarray):
        return drawn(of_array(source), medium)
    data, name = caps.read(source, "points are a path, bytes, a Cloud, an array or a function that makes one")
    try:
        if data.startswith(npy.MAGIC):
            return drawn(of_array(npy.read(data, _check_shape)), medium)
    except BadMedia as error:
        raise BadMedia(f"{name}: {error}") from None
    found = sandbox.decode("points", data, name, count=medium.count or OF_A_MESH, seed=medium.seed)
    try:
        return drawn(Cloud(found["xyz"], found.get("colours"), found.get("normals"), tuple(found["origin"])), medium)
    except BadMedia as error:
        raise BadMedia(f"{name}: {error}") from None


def drawn(cloud: Cloud, medium: Points) -> Cloud:
    """The cloud, or `medium.count` of its points, in their order, drawn without putting back."""
    if medium.count is None or medium.count >= len(cloud.xyz):
        return cloud
    rows = np.sort(np.random.default_rng(medium.seed).choice(len(cloud.xyz), medium.count, replace=False))
    colours, normals = (None if part is None else part[rows] for part in (cloud.colours, cloud.normals))
    return Cloud(cloud.xyz[rows], colours, normals, cloud.origin)


def of_array(array: npt.NDArray[Any]) -> Cloud:
    """The cloud in an array [N, 3] of points or [N, 6] of points and colours."""
    _check_shape(array.shape)
    if array.shape[1] == 3:
        return Cloud(array)
    xyz: Any = array[:, :3]
    colours: Any = array[:, 3:]
    return Cloud(xyz, colours / (255 if (colours > 1).any() else 1))


def _check_shape(shape: tuple[int, ...]) -> None:
    if len(shape) != 2 or shape[1] not in (3, 6):
        raise BadMedia(f"points are [N, 3], or [N, 6] with colours, not {list(shape)}")
    caps.check_points(shape[0])


def decode(data: bytes, count: int, seed: int) -> dict[str, Any]:
    """`xyz`, `colours` and `normals` where there are any, and `origin`; runs in a worker."""
    if data[:4] == b"LASF":
        return _las(data)
    if data.startswith((b"ply\n", b"ply\r")):
        declared = _check_ply(data)
        caps.need("trimesh", "a PLY")
        from trimesh.exchange.ply import load_ply

        found = load_ply(io.BytesIO(data), skip_materials=True)
        for what, name in (("vertices", b"vertex"), ("faces", b"face")):
            if (held := len(found.get(what, ()))) < declared.get(name, 0):
                raise BadMedia(f"its header declares {declared[name]:,} {what} and the file holds {held:,}")
        return _trimesh([found], count, seed)
    return _obj(data, count, seed)


def _obj(data: bytes, count: int, seed: int) -> dict[str, Any]:
    if b"\0" in data[:4096]:
        raise BadMedia(UNKNOWN)
    data = re.sub(rb"^[ \t]*(vn|vt|[vf])[ \t]+", rb"\1 ", data.replace(b"\r\n", b"\n"), flags=re.MULTILINE)
    vertices = data.count(b"\nv ") + data.startswith(b"v ")
    if not vertices:
        raise BadMedia(UNKNOWN)
    caps.check_points(vertices, "vertices")
    caps.check_points(data.count(b"\nf ") + 1, "faces")
    caps.need("trimesh", "an OBJ")
    from trimesh.exchange.obj import load_obj

    try:
        found = load_obj(io.BytesIO(data), skip_materials=True)
    except IndexError:
        corners = b" ".join(re.findall(rb"^f (.*)", data, re.MULTILINE)).split()
        numbers = [int(number) for corner in corners if (number := corner.split(b"/")[0]).lstrip(b"-").isdigit()]
        if wrong := [number for number in numbers if not 0 < abs(number) <= vertices]:
            raise BadMedia(f"damaged, a face names vertex {wrong[0]:,} of {vertices:,}, counted from 1") from None
        raise
    return _trimesh(list(found.get("geometry", {"": found}).values()), count, seed)


def _check_ply(data: bytes) -> dict[bytes, int]:
    """How many of what the header declares. Raises `BadMedia` for too many, or more than the file can hold."""
    header, end, _ = data[:65536].partition(b"end_header")
    if not end:
        raise BadMedia("damaged, its header has no end")
    counts = {}
    for line in header.splitlines():
        words = line.split()
        if words[:1] == [b"element"]:
            if len(words) != 3 or not words[2].isdigit() or len(words[2]) > 18:
                raise BadMedia(f"damaged, it declares {line[:80].decode(errors='replace')!r}")
            counts[words[1]] = int(words[2])
            if counts[words[1]] > len(data):
                raise BadMedia(f"its header declares {counts[words[1]]:,} in a file of {len(data):,} bytes")
    caps.check_points(counts.get(b"vertex", 0), "points")
    caps.check_points(counts.get(b"face", 0) + 1, "faces")
    return counts


def _trimesh(parts: list[dict[str, Any]], count: int, seed: int) -> dict[str, Any]:
    """One cloud of what trimesh read: its vertices, or points on its faces."""
    trimesh: Any = caps.need("trimesh", "a mesh")
    for part in parts:
        vertices = np.asarray(part["vertices"])
        if not np.isfinite(vertices).all():
            where = np.flatnonzero(~np.isfinite(vertices).all(axis=1))[0]
            raise BadMedia(f"point {where:,} is NaN or infinite")
    if not any(len(part.get("faces", ())) for part in parts):
        xyz, colours, normals = (_joined(parts, name) for name in ("vertices", "vertex_colors", "vertex_normals"))
        found = {"xyz": xyz, "colours": None if colours is None else _zero_to_one(colours[:, :3]), "normals": normals}
        return {name: array for name, array in found.items() if array is not None} | {"origin": (0.0, 0.0, 0.0)}
    meshes = []
    for part in parts:
        faces = np.asarray(part.get("faces", ()))
        if not len(faces):
            continue
        if faces.min() < 0 or faces.max() >= len(part["vertices"]):
            wrong = faces.min() if faces.min() < 0 else faces.max()
            raise BadMedia(f"a face names vertex {wrong:,} of {len(part['vertices']):,}, counted from 0")
        colours = part.get("vertex_colors")
        meshes.append(
            trimesh.Trimesh(
                part["vertices"],
                faces,
                vertex_colors=None if colours is None else np.round(_zero_to_one(colours) * 255).astype(np.uint8),
                process=False,
            )
        )
    coloured = all(mesh.visual.kind == "vertex" for mesh in meshes)
    whole = trimesh.util.concatenate(meshes)
    caps.check_points(len(whole.faces), "triangles")
    if not 0 < whole.area < np.inf:
        raise BadMedia("a mesh whose faces have no area")
    xyz, face = trimesh.sample.sample_surface(whole, count, seed=seed)
    sampled = {"xyz": xyz, "normals": whole.face_normals[face], "origin": (0.0, 0.0, 0.0)}
    return sampled | ({"colours": whole.visual.face_colors[face, :3] / 255} if coloured else {})


def _joined(parts: list[dict[str, Any]], name: str) -> npt.NDArray[Any] | None:
    found = [part[name] for part in parts if part.get(name) is not None and len(part[name]) == len(part["vertices"])]
    return np.concatenate(found) if len(found) == len(parts) else None


def _zero_to_one(colours: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if colours.dtype.kind in "ui":
        return colours / np.iinfo(colours.dtype).max
    return colours / 255 if colours.max(initial=0) > 1 else colours


def _check_las(data: bytes) -> None:
    """Raises `BadMedia` for a header that declares more records before its points than there is room for."""
    if len(data) < 104:
        raise BadMedia("damaged, it ends within its header")
    header, points, records = struct.unpack_from("<HII", data, 94)
    if points > len(data) or header + RECORD * records > points:
        raise BadMedia(
            f"its header declares {records:,} records before byte {points:,}, in a file of {len(data):,} bytes"
        )


def _las(data: bytes) -> dict[str, Any]:
    _check_las(data)
    laspy = caps.need("laspy", "a LAS")
    caps.need("lazrs", "a LAZ")
    with laspy.open(io.BytesIO(data), laz_backend=laspy.LazBackend.Lazrs, read_evlrs=False) as file:
        header = file.header
        caps.check_points(header.point_count)
        if not header.are_points_compressed:
            held = (len(data) - header.offset_to_point_data) // header.point_format.size
            if header.point_count > held:
                raise BadMedia(f"its header declares {header.point_count:,} points and the file holds {max(0, held):,}")
        points = file.read_points(header.point_count)
        if len(points) != header.point_count:
            raise BadMedia(f"its header declares {header.point_count:,} points and the file holds {len(points):,}")
        xyz = np.stack([np.asarray(points.x), np.asarray(points.y), np.asarray(points.z)], axis=1)
        if not np.isfinite(xyz).all():
            raise BadMedia(f"point {np.flatnonzero(~np.isfinite(xyz).all(axis=1))[0]:,} is NaN or infinite")
        origin = xyz.min(axis=0)
        found = {"xyz": (xyz - origin).astype(np.float32), "origin": tuple(origin.tolist())}
        if "red" in header.point_format.dimension_names:
            colours = np.stack([np.asarray(points[name]) for name in ("red", "green", "blue")], axis=1)
            found["colours"] = (colours / (255 if colours.max() < 256 else 65535)).astype(np.float32)
        return found
